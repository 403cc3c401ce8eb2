"""The recent of newest blocks: forks, slow nodes, nodes that contradict each other."""

from pipeline.blocks.recent import RecentBlocks
from pipeline.chains.values import BlockContent, BlockRef
from tests.unit.blocks.chain import NOW, Chain


async def test_each_block_is_read_once() -> None:
    blocks = Chain()
    recent = RecentBlocks(blocks.read)
    final = blocks.chain[0].block
    await recent.follow(final, blocks.head)
    blocks.grow("a", 1, "tx")
    await recent.follow(final, blocks.head)
    await recent.follow(final, blocks.head)
    assert blocks.reads == [1, 2, 3]
    assert recent.block_of("tx") == blocks.head


async def test_a_fork_is_followed_and_what_it_dropped_is_gone() -> None:
    blocks = Chain()
    recent = RecentBlocks(blocks.read)
    final = blocks.chain[0].block
    blocks.grow("a", 2, "tx")
    await recent.follow(final, blocks.head)
    blocks.fork(3)
    blocks.grow("b", 5)
    await recent.follow(final, blocks.head)
    assert recent.block_of("tx") is None
    assert recent.contradicts(4, "a4")
    assert not recent.contradicts(4, "b4")


async def test_a_fork_of_the_same_height_is_seen() -> None:
    blocks = Chain()
    recent = RecentBlocks(blocks.read)
    final = blocks.chain[0].block
    blocks.grow("a", 1, "tx")
    await recent.follow(final, blocks.head)
    blocks.fork(1)
    blocks.grow("b", 1)
    await recent.follow(final, blocks.head)
    assert recent.block_of("tx") is None


async def test_a_slow_node_is_not_a_fork() -> None:
    blocks = Chain()
    recent = RecentBlocks(blocks.read)
    final, behind = blocks.chain[0].block, blocks.chain[1].block
    blocks.grow("a", 1, "tx")
    await recent.follow(final, blocks.head)
    await recent.follow(final, behind)
    assert recent.block_of("tx") == blocks.head


async def test_final_blocks_are_forgotten() -> None:
    blocks = Chain()
    recent = RecentBlocks(blocks.read)
    blocks.grow("a", 1, "tx")
    await recent.follow(blocks.chain[0].block, blocks.head)
    await recent.follow(blocks.head, blocks.head)
    assert recent.block_of("tx") is None


async def test_nodes_that_contradict_each_other_do_not_hold_us() -> None:
    """Every answer from another branch: the round ends, the next one goes on."""
    reads: list[int] = []

    async def read(number: int) -> BlockContent:
        reads.append(number)
        return BlockContent(BlockRef(number, f"x{len(reads)}", NOW), "another", ())

    await RecentBlocks(read).follow(Chain().chain[0].block, BlockRef(9, "x", NOW))
    assert len(reads) < 30


async def test_it_says_what_was_added_and_what_was_forked_away() -> None:
    """What a deposit scanner shows as provisional, and takes back."""
    blocks = Chain()
    recent = RecentBlocks(blocks.read)
    final = blocks.chain[0].block
    first = await recent.follow(final, blocks.head)
    assert ([one.block.id for one in first.added], first.removed) == (["a1", "a2"], [])
    blocks.fork(1)
    blocks.grow("b", 2)
    change = await recent.follow(final, blocks.head)
    assert [one.block.id for one in change.added] == ["b2", "b3"]
    assert [one.id for one in change.removed] == ["a2"]
    again = await recent.follow(final, blocks.head)
    assert (again.added, again.removed) == ([], [])


async def test_a_block_that_became_final_was_not_forked_away() -> None:
    blocks = Chain()
    recent = RecentBlocks(blocks.read)
    await recent.follow(blocks.chain[0].block, blocks.head)
    change = await recent.follow(blocks.head, blocks.head)
    assert (change.added, change.removed) == ([], [])


async def test_confirmations_count_blocks_of_the_trail() -> None:
    blocks = Chain()
    recent = RecentBlocks(blocks.read)
    blocks.grow("a", 3)
    await recent.follow(blocks.chain[0].block, blocks.head)
    assert recent.confirmations(blocks.head) == 1
    assert recent.confirmations(blocks.chain[2].block) == 4
    dropped = blocks.chain[-2].block
    blocks.fork(2)
    blocks.grow("b", 3)
    await recent.follow(blocks.chain[0].block, blocks.head)
    assert recent.confirmations(dropped) == 0
    assert recent.confirmations(blocks.chain[2].block) == 5
