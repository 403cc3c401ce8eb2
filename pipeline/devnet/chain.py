"""The network: one canonical chain, one pool of pending transactions, one clock.

Two states are kept: the head's, with the pending transactions applied on top as java-tron does, and the solid
one, ``solid_lag`` blocks behind, which replays the same blocks.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.devnet.blocks import Block, ChainClock, StateCursor, genesis, make_block
from pipeline.devnet.journal import Journal
from pipeline.devnet.params import BlockEnv, Params
from pipeline.devnet.permissions import check_signatures
from pipeline.devnet.state import Receipt, State
from pipeline.devnet.transactions import Code, Rejected, WireTransaction, invalid

MAX_TRANSACTION_BYTES = 500 * 1024
MAX_LIFETIME_MS = 24 * 3600 * 1000
TAPOS_WINDOW = 65_536
MAX_PENDING = 10_000
"""A node with more pending transactions answers SERVER_BUSY. java-tron's default is 2,000; its blocks are bigger."""


@dataclass(frozen=True, slots=True)
class ChainOptions:
    network: str = "flagpost"
    """Decides the genesis id and the faucet's key."""
    solid_lag: int = 19
    """A block is solid when this many follow it."""
    params: Params = field(default_factory=Params)
    endowments: dict[bytes, int] = field(default_factory=dict)
    """Sun that accounts hold at genesis."""


@dataclass(frozen=True, slots=True)
class TransactionPlace:
    """Where a transaction is."""

    block: Block
    position: int

    @property
    def transaction(self) -> WireTransaction:
        return self.block.transactions[self.position]

    @property
    def receipt(self) -> Receipt:
        return self.block.receipts[self.position]


class Chain:
    def __init__(self, options: ChainOptions, journal: Journal | None = None) -> None:
        self.options = options
        self.clock = ChainClock()
        self.params = options.params
        self.pending: dict[bytes, WireTransaction] = {}
        self.held: set[bytes] = set()
        """Pending transactions that no block takes for now."""
        self.on_block: list[Callable[[Block], None]] = []
        self.max_pending = MAX_PENDING
        self.instant = False
        """Every accepted transaction gets a block of its own at once."""
        self._journal = journal
        records = journal.read() if journal else []
        first = genesis(options.network, options.params)
        self.blocks: list[Block] = [first]
        self.index: dict[bytes, tuple[int, int]] = {}
        self.head_cursor = self.new_cursor()
        self._solid_cursor = self.new_cursor()
        self._restore(records, first)

    # -- reading

    @property
    def head(self) -> Block:
        return self.blocks[-1]

    @property
    def solid(self) -> Block:
        return self.blocks[max(0, len(self.blocks) - 1 - self.options.solid_lag)]

    @property
    def head_state(self) -> State:
        """After the head block and every pending transaction."""
        return self.head_cursor.state

    @property
    def solid_state(self) -> State:
        return self._solid_cursor.move_to(self.blocks, self.solid.number)

    def new_cursor(self) -> StateCursor:
        return StateCursor(State(self.options.endowments), self.blocks[0])

    def find(self, txid: bytes) -> TransactionPlace | None:
        place = self.index.get(txid)
        return TransactionPlace(self.blocks[place[0]], place[1]) if place else None

    # -- pool

    def admit(self, tx: WireTransaction) -> None:
        """Validate and pool. Raises Rejected, in java-tron's order of checks."""
        self.check(tx, self.blocks, self.index, self.head_state)
        self.head_state.apply(tx, self._next_env())
        self.pending[tx.txid] = tx
        if self.instant:
            self.produce()

    def check(
        self, tx: WireTransaction, blocks: Sequence[Block], index: dict[bytes, tuple[int, int]], state: State
    ) -> None:
        """Everything that comes before fees and execution, as a node with ``blocks`` and ``state`` sees it.

        Raises Rejected."""
        contracts = len(tx.message.raw_data.contract)
        if contracts != 1:
            raise invalid(f"contract size should be exactly 1, actual :{contracts}" if contracts else "No contract!")
        check_tapos(tx, blocks)
        check_expiration(tx, blocks[-1].timestamp)
        if tx.bandwidth + 64 > MAX_TRANSACTION_BYTES:
            raise Rejected(
                Code.TOO_BIG_TRANSACTION_ERROR,
                f"Too big transaction with result, TxId {tx.id}, the size is {tx.bandwidth + 64} bytes, "
                f"maxTxSize {MAX_TRANSACTION_BYTES}",
            )
        if tx.txid in index or tx.txid in self.pending:
            raise Rejected(Code.DUP_TRANSACTION_ERROR, "Dup transaction.")
        account = state.ledger.accounts.get(tx.owner)
        check_signatures(tx, None if account is None else account.permissions)

    def drop_pending(self, txids: Iterable[bytes]) -> int:
        """Forget pending transactions, as if the network had lost them. Returns how many there were."""
        dropped = [self.pending.pop(txid) for txid in list(txids) if txid in self.pending]
        self._rebuild_pending()
        return len(dropped)

    # -- blocks

    def produce(self, *, empty: bool = False, step_ms: int | None = None, salt: bytes = b"") -> Block:
        """Make the next block from the pool: transactions that no longer hold fall out of it.

        ``step_ms`` sets its time after the head's; otherwise it is the clock's."""
        if step_ms is not None:
            self.clock.at_least(self.head.timestamp + step_ms)
        env = self._next_env(step_ms)
        self.head_cursor.reset()
        done: list[tuple[WireTransaction, Receipt]] = []
        for tx in list(self.pending.values()):
            if empty or tx.txid in self.held:
                continue
            del self.pending[tx.txid]
            receipt = self._include(tx, env)
            if receipt:
                done.append((tx, receipt))
        block = make_block(self.head, env, done, salt)
        if self._journal:
            self._journal.append({"block": _encode(block, self.head)})
        self._append(block)
        self.head_cursor.push(block)
        self._rebuild_pending()
        for listener in self.on_block:
            listener(block)
        return block

    def fork(self, depth: int, *, drop: bool = False) -> list[WireTransaction]:
        """Replace the last ``depth`` blocks by as many empty ones. Their transactions return to the pool, or
        are forgotten with ``drop``. Returns them. Raises ValueError beyond the solid block."""
        if not 1 <= depth <= self.head.number - self.solid.number:
            raise ValueError(
                f"fork of depth {depth} is not possible: only the {self.head.number - self.solid.number} blocks "
                f"above the solid block {self.solid.number} can be replaced"
            )
        base = self.head.number - depth
        if self._journal:
            self._journal.append({"fork": base})
        replaced = self.blocks[base + 1 :]
        self._cut(base)
        self.head_cursor.move_to(self.blocks, base)
        transactions = [tx for block in replaced for tx in block.transactions]
        waiting = list(self.pending.values())
        self.pending = {} if drop else {tx.txid: tx for tx in transactions}
        self.pending.update((tx.txid, tx) for tx in waiting)
        for old in replaced:
            salt = os.urandom(8)
            self.produce(empty=True, step_ms=max(1, old.timestamp - self.head.timestamp), salt=salt)
        return transactions

    def _include(self, tx: WireTransaction, env: BlockEnv) -> Receipt | None:
        try:
            check_tapos(tx, self.blocks)
            check_expiration(tx, self.head.timestamp)
            if tx.expiration < env.timestamp:
                return None
            return self.head_state.apply(tx, env)
        except Rejected:
            return None

    def _next_env(self, step_ms: int | None = None) -> BlockEnv:
        earliest = self.head.timestamp + (step_ms or 1)
        timestamp = earliest if step_ms is not None else max(earliest, self.clock.now_ms())
        return BlockEnv(self.head.number + 1, timestamp, self.params)

    def _rebuild_pending(self) -> None:
        self.head_cursor.reset()
        env = self._next_env()
        for tx in list(self.pending.values()):
            try:
                check_tapos(tx, self.blocks)
                check_expiration(tx, self.head.timestamp)
                self.head_state.apply(tx, env)
            except Rejected:
                del self.pending[tx.txid]

    def _append(self, block: Block) -> None:
        self.blocks.append(block)
        for position, tx in enumerate(block.transactions):
            self.index[tx.txid] = (block.number, position)

    def _cut(self, base: int) -> None:
        for block in self.blocks[base + 1 :]:
            for tx in block.transactions:
                del self.index[tx.txid]
        del self.blocks[base + 1 :]

    # -- restart

    def _restore(self, records: list[dict[str, Any]], first: Block) -> None:
        if not records:
            if self._journal:
                self._journal.append({"genesis": _encode_genesis(self.options, first)})
            self.produce()  # nothing could refer to a head at time 0
            return
        known = records[0]["genesis"]
        if known["id"] != first.id.hex():
            raise ValueError(
                f"the directory holds network {known['network']!r}, not {self.options.network!r}: "
                "give another directory or the network's own name"
            )
        # A journal of an older version lacks the parameters that were not there yet.
        began = Params.from_json(known["params"], Params())
        if _encode_genesis(self.options, first) != known | {"params": began.to_json()}:
            raise ValueError(
                f"network {known['network']!r} was started with the parameters {known['params']}, not "
                f"{self.options.params.to_json()}: start it with those and change them while it runs"
            )
        for record in records[1:]:
            if "fork" in record:
                self._cut(record["fork"])
                self.head_cursor.move_to(self.blocks, record["fork"])
            else:
                self._replay(record["block"])
        self.params = self.head.params
        self.clock.at_least(self.head.timestamp)

    def _replay(self, record: dict[str, Any]) -> None:
        params = Params.from_json(record.get("params", {}), self.head.params)
        env = BlockEnv(self.head.number + 1, record["timestamp"], params)
        transactions = [WireTransaction.decode(bytes.fromhex(wire)) for wire in record["transactions"]]
        done = [(tx, self.head_state.apply(tx, env)) for tx in transactions]
        block = make_block(self.head, env, done, bytes.fromhex(record.get("salt", "")))
        if block.id.hex() != record["id"]:
            raise ValueError(f"block {env.number} of the journal replays to another id: it was written by other hands")
        self._append(block)
        self.head_cursor.push(block)


def check_tapos(tx: WireTransaction, blocks: Sequence[Block]) -> None:
    """The block that the transaction refers to must be one of the last 65,536. Raises Rejected."""
    reference = tx.message.raw_data
    head = blocks[-1].number
    if len(reference.ref_block_bytes) == 2:
        low = int.from_bytes(reference.ref_block_bytes, "big")
        number = head - (head - low) % TAPOS_WINDOW
        if number >= 0 and blocks[number].id[8:16] == reference.ref_block_hash:
            return
    raise Rejected(Code.TAPOS_ERROR, "Tapos check error.")


def check_expiration(tx: WireTransaction, head_ms: int) -> None:
    if tx.expiration <= head_ms or tx.expiration > head_ms + MAX_LIFETIME_MS:
        raise Rejected(Code.TRANSACTION_EXPIRATION_ERROR, "Transaction expired")


def _encode_genesis(options: ChainOptions, first: Block) -> dict[str, Any]:
    return {
        "network": options.network,
        "id": first.id.hex(),
        "params": options.params.to_json(),
        "endowments": {address.hex(): sun for address, sun in options.endowments.items()},
    }


def _encode(block: Block, parent: Block) -> dict[str, Any]:
    record: dict[str, Any] = {
        "number": block.number,
        "id": block.id.hex(),
        "timestamp": block.timestamp,
        "transactions": [tx.wire.hex() for tx in block.transactions],
    }
    if block.salt:
        record["salt"] = block.salt.hex()
    if block.params != parent.params:
        record["params"] = block.params.to_json()
    return record
