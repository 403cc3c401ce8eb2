"""Blocks: how they are named, linked and replayed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.devnet.encoding import PREFIX, keccak256, sha256
from pipeline.devnet.messages import BlockHeaderRaw
from pipeline.devnet.params import BlockEnv, Params
from pipeline.devnet.state import Receipt, State, StateMark
from pipeline.devnet.transactions import WireTransaction

WITNESS = PREFIX + keccak256(b"flagpost devnet witness")[12:]
VERSION = 31


class Diverged(Exception):
    """Replaying a block gave other receipts than when it was made: the journal is not of this version or damaged."""


@dataclass(frozen=True, slots=True)
class Block:
    number: int
    timestamp: int
    """Milliseconds."""
    parent_id: bytes
    id: bytes
    tx_root: bytes
    params: Params
    transactions: tuple[WireTransaction, ...]
    receipts: tuple[Receipt, ...]
    salt: bytes = b""
    """Makes a block that replaces another one differ from it even when nothing else does."""

    @property
    def env(self) -> BlockEnv:
        return BlockEnv(self.number, self.timestamp, self.params)


def make_block(parent: Block, env: BlockEnv, done: Sequence[tuple[WireTransaction, Receipt]], salt: bytes) -> Block:
    transactions = tuple(tx for tx, _ in done)
    root = sha256(salt + b"".join(tx.txid for tx in transactions)) if transactions or salt else bytes(32)
    block_id = _block_id(env.number, env.timestamp, parent.id, root)
    receipts = tuple(receipt for _, receipt in done)
    return Block(env.number, env.timestamp, parent.id, block_id, root, env.params, transactions, receipts, salt)


def genesis(network: str, params: Params) -> Block:
    """Block 0, at time 0 as on mainnet; its id depends on the network's name and nothing else."""
    parent = sha256(f"flagpost devnet {network}".encode())
    return Block(0, 0, parent, _block_id(0, 0, parent, bytes(32)), bytes(32), params, (), ())


def _block_id(number: int, timestamp: int, parent_id: bytes, root: bytes) -> bytes:
    header = header_raw(number, timestamp, parent_id, root)
    return number.to_bytes(8, "big") + sha256(header.SerializeToString())[8:]


def header_raw(number: int, timestamp: int, parent_id: bytes, root: bytes) -> BlockHeaderRaw:
    return BlockHeaderRaw(
        timestamp=timestamp,
        txTrieRoot=root,
        parentHash=parent_id,
        number=number,
        witness_address=WITNESS,
        version=VERSION,
    )


class ChainClock:
    """Chain time: the wall clock plus what the tests advanced it by."""

    def __init__(self) -> None:
        self._offset_ms = 0

    def now_ms(self) -> int:
        return int(time.time() * 1000) + self._offset_ms

    def advance(self, ms: int) -> None:
        self._offset_ms += ms

    def at_least(self, timestamp: int) -> None:
        """After a restart the chain may be ahead of the wall clock."""
        self._offset_ms += max(0, timestamp - self.now_ms())


class StateCursor:
    """A state that stands at one block and can be moved to any other, forwards or back."""

    def __init__(self, state: State, first: Block) -> None:
        self.state = state
        self._path: list[tuple[Block, StateMark]] = [(first, state.mark())]

    @property
    def block(self) -> Block:
        return self._path[-1][0]

    def move_to(self, chain: Sequence[Block], number: int) -> State:
        """Stand at ``chain[number]``, undoing what is not on that chain. Raises Diverged."""
        while len(self._path) > number + 1 or self.block.id != chain[len(self._path) - 1].id:
            self.undo()
        for block in chain[len(self._path) : number + 1]:
            receipts = tuple(self.state.apply(tx, block.env) for tx in block.transactions)
            if receipts != block.receipts:
                raise Diverged(f"block {block.number} gave other receipts when replayed")
            self.push(block)
        return self.state

    def push(self, block: Block) -> None:
        """The state now is that after ``block``."""
        self._path.append((block, self.state.mark()))

    def undo(self) -> None:
        """Stand at the block before."""
        self._path.pop()
        self.reset()

    def reset(self) -> None:
        """Undo whatever was done to the state since it stood at this block."""
        block, mark = self._path.pop()
        self.state.rollback(mark)
        self._path.append((block, self.state.mark()))
