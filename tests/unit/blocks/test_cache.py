"""Final blocks that several readers want at the same time."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.blocks.cache import BlockCache
from pipeline.blocks.follower import BlockFollower
from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.values import BlockContent
from tests.unit.blocks.chain import Chain


async def test_many_who_walk_back_read_each_block_once() -> None:
    """As senders do that are reconciled: 32 walks over 64 blocks."""
    chain = Chain()
    chain.grow("a", 80)
    follower = BlockFollower(BlockCache(chain.read).read)
    top = chain.chain[-1]

    async def walk() -> int:
        return len([one async for one in follower.walk_back(top, top.block.number - 64)])

    assert await asyncio.gather(*(walk() for _ in range(32))) == [64] * 32
    assert len(chain.reads) == 64


async def test_it_is_bounded_and_keeps_what_was_used_last() -> None:
    chain = Chain()
    cache = BlockCache(chain.read, most=2)
    for number in (0, 1, 0, 2, 0, 1):
        await cache.read(number)
    assert chain.reads == [0, 1, 2, 1]


async def test_what_another_node_may_know_better_is_not_kept() -> None:
    """A block that is not there yet, and one of which not everything could be read."""
    chain = Chain()
    cache = BlockCache(chain.read)
    assert await cache.read(3) is None
    chain.grow("a", 1)
    assert await cache.read(3) == chain.chain[3]
    whole = chain.chain[2]
    chain.chain[2] = replace(whole, unreadable=frozenset({"tx"}))
    await cache.read(2)
    chain.chain[2] = whole
    assert await cache.read(2) == whole


async def test_cleared_it_asks_again() -> None:
    chain = Chain()
    cache = BlockCache(chain.read)
    await cache.read(1)
    cache.clear()
    await cache.read(1)
    assert chain.reads == [1, 1]


async def test_an_error_is_of_all_who_wait_and_is_not_kept() -> None:
    chain, failing = Chain(), True

    async def read(number: int) -> BlockContent | None:
        await asyncio.sleep(0)
        if failing:
            raise ChainUnavailable("gone")
        return await chain.read(number)

    cache = BlockCache(read)
    told = await asyncio.gather(cache.read(1), cache.read(1), return_exceptions=True)
    assert [type(one) for one in told] == [ChainUnavailable] * 2
    failing = False
    assert await cache.read(1) == chain.chain[1]


async def test_one_who_stops_waiting_takes_it_from_nobody() -> None:
    chain, go = Chain(), asyncio.Event()

    async def read(number: int) -> BlockContent | None:
        await go.wait()
        return await chain.read(number)

    cache = BlockCache(read)
    impatient, patient = asyncio.create_task(cache.read(1)), asyncio.create_task(cache.read(1))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    go.set()
    assert await patient == chain.chain[1]
