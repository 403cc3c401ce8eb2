"""What comes while a batch is under way forms the next one."""

import asyncio
from collections.abc import Sequence

import pytest

from pipeline.batches import Batches


class Work:
    """Keeps what it was given; each batch waits until it may end."""

    def __init__(self) -> None:
        self.given: list[list[int]] = []
        self.may_end = asyncio.Event()

    async def __call__(self, batch: Sequence[int]) -> list[int | Exception]:
        self.given.append(list(batch))
        await self.may_end.wait()
        return [ValueError(f"{item} is odd") if item % 2 else item * 10 for item in batch]


async def settled(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_goes_at_once_and_the_others_follow_together() -> None:
    work = Work()
    batches = Batches(work, 100)
    first = asyncio.create_task(batches.add(0))
    await settled()
    others = [asyncio.create_task(batches.add(item)) for item in (2, 4, 6)]
    await settled()
    assert work.given == [[0]]
    work.may_end.set()
    assert await asyncio.gather(first, *others) == [0, 20, 40, 60]
    assert work.given == [[0], [2, 4, 6]]


async def test_trouble_is_that_of_its_item() -> None:
    work = Work()
    work.may_end.set()
    batches = Batches(work, 100)
    one, other = await asyncio.gather(batches.add(2), batches.add(3), return_exceptions=True)
    assert one == 20
    assert str(other) == "3 is odd"


async def test_a_batch_is_no_larger_than_allowed() -> None:
    work = Work()
    work.may_end.set()
    batches = Batches(work, 2)
    assert await asyncio.gather(*map(batches.add, (2, 4, 6, 8, 10))) == [20, 40, 60, 80, 100]
    assert work.given == [[2, 4], [6, 8], [10]]


async def test_who_gives_up_before_a_batch_begins_is_not_in_it() -> None:
    work = Work()
    batches = Batches(work, 100)
    first = asyncio.create_task(batches.add(0))
    await settled()
    waiting, gone = (asyncio.create_task(batches.add(item)) for item in (2, 4))
    await settled()
    gone.cancel()
    work.may_end.set()
    await asyncio.gather(first, waiting)
    assert work.given == [[0], [2]]


async def test_who_gives_up_later_leaves_the_batch_as_it_is() -> None:
    work = Work()
    batches = Batches(work, 100)
    gone, other = asyncio.create_task(batches.add(2)), asyncio.create_task(batches.add(4))
    await settled()
    gone.cancel()
    work.may_end.set()
    assert await other == 40
    assert work.given == [[2, 4]]


async def test_what_the_work_raises_is_the_trouble_of_all() -> None:
    async def fail(batch: Sequence[int]) -> list[int | Exception]:
        raise ConnectionError("the database went away")

    batches = Batches(fail, 100)
    found = await asyncio.gather(batches.add(1), batches.add(2), return_exceptions=True)
    assert [str(one) for one in found] == ["the database went away"] * 2


async def test_the_end_of_the_work_ends_who_waits() -> None:
    class Ended(BaseException):
        pass

    async def end(batch: Sequence[int]) -> list[int | Exception]:
        raise Ended

    with pytest.raises(Ended):
        await Batches(end, 100).add(1)


async def test_others_are_waited_for_where_that_is_wanted() -> None:
    work = Work()
    work.may_end.set()
    batches = Batches(work, 100, gather_seconds=0.01)
    first = asyncio.create_task(batches.add(0))
    await settled()
    second = asyncio.create_task(batches.add(2))
    assert await asyncio.gather(first, second) == [0, 20]
    assert work.given == [[0, 2]]
