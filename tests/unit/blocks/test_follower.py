"""Final blocks in order: contradictions, missing blocks, reading ahead."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from pipeline.blocks.errors import BlockConflict
from pipeline.blocks.follower import BlockFollower
from pipeline.chains.errors import ChainUnavailable, InconsistentNode
from pipeline.chains.values import BlockContent, BlockRef
from tests.unit.blocks.chain import NOW, Chain


def grown(count: int = 20) -> Chain:
    chain = Chain()
    chain.grow("a", count - 3)
    return chain


async def collect(blocks: AsyncGenerator[BlockContent, None], seen: list[int]) -> None:
    """The heights of blocks, as far as they come."""
    async for content in blocks:
        seen.append(content.block.number)


async def heights(follower: BlockFollower, after: BlockRef, up_to: BlockRef) -> list[int]:
    return [content.block.number async for content in follower.follow(after, up_to)]


async def test_blocks_come_in_order_and_each_is_read_once() -> None:
    chain = grown()
    assert await heights(BlockFollower(chain.read), chain.chain[4].block, chain.head) == list(range(5, 20))
    assert sorted(chain.reads) == list(range(5, 20))


async def test_no_more_are_read_at_once_than_was_said() -> None:
    chain = grown(50)
    await heights(BlockFollower(chain.read, at_once=3), chain.chain[0].block, chain.head)
    assert chain.most_at_once == 3


async def test_nothing_follows_the_last_one() -> None:
    chain = grown()
    assert await heights(BlockFollower(chain.read), chain.head, chain.head) == []


async def test_it_ends_before_a_block_that_no_node_has() -> None:
    """The one before it is not given either: nothing vouches for it yet."""
    chain = grown()
    named = BlockRef(25, "a25", NOW)
    assert await heights(BlockFollower(chain.read), chain.chain[9].block, named) == list(range(10, 19))


async def test_a_block_without_its_parent_stops_it_before_the_parent_is_given() -> None:
    """Either of the two may be wrong."""
    chain = grown()
    chain.chain[8] = replace(chain.chain[8], parent_id="b7")
    seen: list[int] = []
    with pytest.raises(BlockConflict, match="final block 8 a8 does not follow final block 7 a7"):
        await collect(BlockFollower(chain.read).follow(chain.chain[4].block, chain.head), seen)
    assert seen == [5, 6]


async def test_the_first_block_must_be_the_child_of_the_cursor() -> None:
    chain = grown()
    with pytest.raises(BlockConflict, match="does not follow final block 4 b4"):
        await heights(BlockFollower(chain.read), BlockRef(4, "b4", NOW), chain.head)


async def test_a_last_block_that_another_answer_names_otherwise_is_not_given() -> None:
    chain = grown()
    seen: list[int] = []
    with pytest.raises(BlockConflict, match="final block 19 is b19 by one answer and a19 by another"):
        await collect(BlockFollower(chain.read).follow(chain.chain[15].block, BlockRef(19, "b19", NOW)), seen)
    assert seen == [16, 17, 18]


async def test_a_conflict_is_an_inconsistent_node() -> None:
    """Whoever handles these handles that."""
    assert issubclass(BlockConflict, InconsistentNode)


async def test_from_a_height_alone() -> None:
    chain = grown()
    follower = BlockFollower(chain.read)
    assert [one.block.number async for one in follower.follow_from(15, chain.head)] == [15, 16, 17, 18, 19]


async def test_backward_each_is_the_parent_of_the_one_before() -> None:
    chain = grown()
    follower = BlockFollower(chain.read)
    assert [one.block.number async for one in follower.walk_back(chain.chain[6], 2)] == [5, 4, 3, 2]
    chain.chain[4] = replace(chain.chain[4], block=BlockRef(4, "b4", NOW))
    seen: list[int] = []
    with pytest.raises(BlockConflict, match="final block 5 a5 does not follow final block 4 b4"):
        await collect(follower.walk_back(chain.chain[6], 2), seen)
    assert seen == [5]


async def test_backward_it_ends_at_the_first_block_or_before_a_missing_one() -> None:
    chain = grown()
    follower = BlockFollower(chain.read)
    assert [one.block.number async for one in follower.walk_back(chain.chain[2], -5)] == [1, 0]

    async def pruned(number: int) -> BlockContent | None:
        return None if number < 3 else chain.chain[number]

    assert [one.block.number async for one in BlockFollower(pruned).walk_back(chain.chain[6], 0)] == [5, 4, 3]


async def test_the_block_that_was_named_or_a_conflict() -> None:
    chain = grown()
    follower = BlockFollower(chain.read)
    assert await follower.block(chain.head) == chain.chain[-1]
    assert await follower.block(BlockRef(99, "a99", NOW)) is None
    with pytest.raises(BlockConflict):
        await follower.block(BlockRef(5, "b5", NOW))


async def test_what_was_read_before_an_error_is_given() -> None:
    chain = grown()

    async def read(number: int) -> BlockContent | None:
        if number == 9:
            raise ChainUnavailable("gone")
        return await chain.read(number)

    seen: list[int] = []
    with pytest.raises(ChainUnavailable):
        await collect(BlockFollower(read).follow(chain.chain[4].block, chain.head), seen)
    assert seen == [5, 6, 7]


async def test_reading_ahead_ends_with_the_one_who_reads() -> None:
    chain = grown()
    ended = asyncio.Event()

    async def read(number: int) -> BlockContent | None:
        if number < 8:
            return await chain.read(number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return None

    async with aclosing(BlockFollower(read).follow(chain.chain[4].block, chain.head)) as blocks:
        async for _ in blocks:
            break
    assert ended.is_set()
    assert len(asyncio.all_tasks()) == 1
