"""The trail of newest blocks: forks, slow nodes, nodes that contradict each other."""

from datetime import UTC, datetime

from pipeline.blocks.trail import Trail
from pipeline.chains.values import BlockContent, BlockRef, TransactionResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Blocks:
    """A chain of blocks named by a letter per branch."""

    def __init__(self) -> None:
        self.chain: list[BlockContent] = []
        self.reads: list[int] = []
        self.grow("a", 3)

    def grow(self, branch: str, count: int, *txids: str) -> None:
        for _ in range(count):
            number = len(self.chain)
            block = BlockRef(number, f"{branch}{number}", NOW)
            parent = self.chain[-1].block.id if self.chain else "none"
            results = tuple(TransactionResult(txid, block, True, 0, ()) for txid in txids)
            self.chain.append(BlockContent(block, parent, results))

    def fork(self, depth: int) -> None:
        del self.chain[-depth:]

    @property
    def head(self) -> BlockRef:
        return self.chain[-1].block

    async def read(self, number: int) -> BlockContent | None:
        self.reads.append(number)
        return self.chain[number] if number < len(self.chain) else None


async def test_each_block_is_read_once() -> None:
    blocks, trail = Blocks(), Trail()
    final = blocks.chain[0].block
    await trail.follow(final, blocks.head, blocks.read)
    blocks.grow("a", 1, "tx")
    await trail.follow(final, blocks.head, blocks.read)
    await trail.follow(final, blocks.head, blocks.read)
    assert blocks.reads == [1, 2, 3]
    assert trail.block_of("tx") == blocks.head


async def test_a_fork_is_followed_and_what_it_dropped_is_gone() -> None:
    blocks, trail = Blocks(), Trail()
    final = blocks.chain[0].block
    blocks.grow("a", 2, "tx")
    await trail.follow(final, blocks.head, blocks.read)
    blocks.fork(3)
    blocks.grow("b", 5)
    await trail.follow(final, blocks.head, blocks.read)
    assert trail.block_of("tx") is None
    assert trail.contradicts(4, "a4")
    assert not trail.contradicts(4, "b4")


async def test_a_fork_of_the_same_height_is_seen() -> None:
    blocks, trail = Blocks(), Trail()
    final = blocks.chain[0].block
    blocks.grow("a", 1, "tx")
    await trail.follow(final, blocks.head, blocks.read)
    blocks.fork(1)
    blocks.grow("b", 1)
    await trail.follow(final, blocks.head, blocks.read)
    assert trail.block_of("tx") is None


async def test_a_slow_node_is_not_a_fork() -> None:
    blocks, trail = Blocks(), Trail()
    final, behind = blocks.chain[0].block, blocks.chain[1].block
    blocks.grow("a", 1, "tx")
    await trail.follow(final, blocks.head, blocks.read)
    await trail.follow(final, behind, blocks.read)
    assert trail.block_of("tx") == blocks.head


async def test_final_blocks_are_forgotten() -> None:
    blocks, trail = Blocks(), Trail()
    blocks.grow("a", 1, "tx")
    await trail.follow(blocks.chain[0].block, blocks.head, blocks.read)
    await trail.follow(blocks.head, blocks.head, blocks.read)
    assert trail.block_of("tx") is None


async def test_nodes_that_contradict_each_other_do_not_hold_us() -> None:
    """Every answer from another branch: the round ends, the next one goes on."""
    blocks, trail = Blocks(), Trail()

    async def read(number: int) -> BlockContent:
        blocks.reads.append(number)
        return BlockContent(BlockRef(number, f"x{len(blocks.reads)}", NOW), "another", ())

    await trail.follow(blocks.chain[0].block, BlockRef(9, "x", NOW), read)
    assert len(blocks.reads) < 30
