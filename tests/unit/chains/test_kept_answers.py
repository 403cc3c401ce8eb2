"""What a node said a moment ago, for all who ask in the meantime."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pipeline.chains.rpc.http import Clock
from pipeline.chains.rpc.kept_answers import KeptAnswers


class Node:
    """Counts what it is asked; answers when it may."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.fault: Exception | None = None

    def read(self) -> Callable[[], Awaitable[int]]:
        async def answer() -> int:
            self.asked += 1
            number = self.asked
            await self.may_answer.wait()
            if self.fault is not None:
                raise self.fault
            return number

        return answer


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def kept(node: Node) -> KeptAnswers[str, int]:
    return KeptAnswers(Clock(monotonic=lambda: node.now), 2.0)


async def test_an_answer_is_kept_for_its_time(node: Node, kept: KeptAnswers[str, int]) -> None:
    assert [await kept.get("a", node.read()) for _ in range(3)] == [1, 1, 1]
    assert await kept.get("b", node.read()) == 2
    node.now = 2.0
    assert await kept.get("a", node.read()) == 3


async def test_who_asks_meanwhile_shares_it(node: Node, kept: KeptAnswers[str, int]) -> None:
    node.may_answer.clear()
    asking = [asyncio.create_task(kept.get("a", node.read())) for _ in range(3)]
    await asyncio.sleep(0)
    node.now = 100.0
    asking.append(asyncio.create_task(kept.get("a", node.read())))
    await asyncio.sleep(0)
    asking[0].cancel()
    node.may_answer.set()
    assert await asyncio.gather(*asking[1:]) == [1, 1, 1]


async def test_a_failure_is_shared_and_not_kept(node: Node, kept: KeptAnswers[str, int]) -> None:
    node.fault = ConnectionError("away")
    found = await asyncio.gather(kept.get("a", node.read()), kept.get("a", node.read()), return_exceptions=True)
    assert [str(one) for one in found] == ["away", "away"]
    node.fault = None
    assert await kept.get("a", node.read()) == 2
