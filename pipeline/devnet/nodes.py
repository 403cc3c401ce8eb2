"""A node: one HTTP port's view of the network, with its own memory of txids and its own faults."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.devnet.blocks import Block, StateCursor
from pipeline.devnet.chain import Chain, TransactionPlace
from pipeline.devnet.faults import Faults
from pipeline.devnet.params import BlockEnv
from pipeline.devnet.state import State
from pipeline.devnet.transactions import Code, Rejected, WireTransaction


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a stale node goes on believing."""

    blocks: Sequence[Block]
    index: dict[bytes, tuple[int, int]]
    solid: int


@dataclass
class DevnetNode:
    name: str
    chain: Chain
    lag: int = 0
    """Blocks this node's head is behind the network's."""
    url: str = ""
    faults: Faults = field(default_factory=Faults)
    remembered: set[bytes] = field(default_factory=set)
    """Txids that were sent here, whatever became of them (java-tron's transactionIdCache)."""
    frozen: Frozen | None = None
    _cursors: dict[bool, StateCursor] = field(default_factory=dict)

    def freeze(self) -> None:
        """Become stale: blocks, balances and solid height stay as they are now."""
        chain = self.chain
        blocks = list(chain.blocks[: self.height(solid=False) + 1])
        self.frozen = Frozen(blocks, dict(chain.index), self.height(solid=True))

    def thaw(self) -> None:
        self.frozen = None

    @property
    def blocks(self) -> Sequence[Block]:
        return self.frozen.blocks if self.frozen else self.chain.blocks

    def height(self, solid: bool) -> int:
        if self.frozen:
            return self.frozen.solid if solid else len(self.frozen.blocks) - 1
        head = max(0, self.chain.head.number - self.lag)
        return min(head, self.chain.solid.number) if solid else head

    def head(self, solid: bool) -> Block:
        """The newest block; with ``solid`` the newest solid one."""
        return self.blocks[self.height(solid)]

    def block(self, number: int, solid: bool) -> Block | None:
        return self.blocks[number] if 0 <= number <= self.height(solid) else None

    def block_by_id(self, block_id: bytes, solid: bool) -> Block | None:
        if len(block_id) != 32:
            return None
        found = self.block(int.from_bytes(block_id[:8], "big"), solid)
        return found if found and found.id == block_id else None

    def find(self, txid: bytes, solid: bool) -> TransactionPlace | None:
        place = (self.frozen.index if self.frozen else self.chain.index).get(txid)
        if place is None or place[0] > self.height(solid):
            return None
        return TransactionPlace(self.blocks[place[0]], place[1])

    def state(self, solid: bool) -> State:
        """At this node's head (with the pool applied, as on java-tron) or solid block."""
        if not self.frozen and not self.lag:
            return self.chain.solid_state if solid else self.chain.head_state
        if solid not in self._cursors:
            self._cursors[solid] = self.chain.new_cursor()
        return self._cursors[solid].move_to(self.blocks, self.height(solid))

    def env(self, solid: bool) -> BlockEnv:
        """What a constant call sees: the newest block, and the prices of the moment."""
        block = self.head(solid)
        params = block.params if solid or self.frozen else self.chain.params
        return BlockEnv(block.number, block.timestamp, params)

    def broadcast(self, tx: WireTransaction) -> None:
        """Remember, validate, pool. Raises Rejected. A stale node pools for itself alone: nobody hears of it."""
        if len(self.chain.pending) >= self.chain.max_pending:
            raise Rejected(Code.SERVER_BUSY, "Server busy.")
        if tx.txid in self.remembered:
            raise Rejected(Code.DUP_TRANSACTION_ERROR, "Transaction already exists.")
        self.remembered.add(tx.txid)
        if not self.frozen:
            self.chain.admit(tx)
            return
        state = self.state(solid=False)
        self.chain.check(tx, self.frozen.blocks, self.frozen.index, state)
        mark = state.mark()
        state.apply(tx, self.env(solid=False))
        state.rollback(mark)
