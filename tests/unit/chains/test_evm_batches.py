"""Batches at nodes that have limits of their own on them and no way to say so."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.chains.evm.rpc import batches as module
from pipeline.chains.evm.rpc.node import EvmNode
from pipeline.chains.evm.rpc.replies import RpcError
from pipeline.chains.rpc.http import TOO_LARGE, Clock, NodeConfig, NodeFailure
from tests.unit.chains.scripted_node import Answer, FakeTime, ScriptedNode, scripted_node

Calls = list[dict[str, Any]]


def result(call: dict[str, Any], value: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call["id"], "result": value if value is not None else call["params"][0]}


def error(call: dict[str, Any] | None, message: str, code: int = -32000) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call and call["id"], "error": {"code": code, "message": message}}


LIMITS: dict[str, Any] = {
    "an error in place of the list": lambda calls: error(None, "batch requests are not supported", -32600),
    "an error of text": lambda calls: {"error": "no batches"},
    "a list of one error": lambda calls: [error(calls[0], "batch too large", -32600)],
    "a list of one error without an id": lambda calls: [error(None, "batch too large", -32600)],
    "the same error for each": lambda calls: [error(call, "too many calls in one body") for call in calls],
    "an error about the batch for some": lambda calls: [
        *map(result, calls[:2]), *(error(call, "response too large", -32003) for call in calls[2:])
    ],
    "only the first answers": lambda calls: [result(call) for call in calls[:2]],
    "an empty list": lambda calls: [],
    "null": lambda calls: None,
    "one result": lambda calls: result(calls[0]),
    "answers given twice": lambda calls: [result(call, value) for call in calls for value in ("0x1", "0x2")],
    "ids of others": lambda calls: [{**result(call), "id": call["id"] + 1000} for call in calls],
    "answers of no form": lambda calls: [{"id": call["id"]} for call in calls],
    "HTTP 413": lambda calls: Answer("<html>Request Entity Too Large", 413),
    "HTTP 500": lambda calls: Answer("", 500),
    "HTTP 400": lambda calls: Answer("Bad Request", 400),
    "HTTP 502": lambda calls: Answer("<html>Bad Gateway", 502),
    "more than is read": lambda calls: Answer('["' + "x" * 2_000 + '"]'),
}  # fmt: skip


class Limited:
    """A node that answers batches of up to ``most`` calls, and larger ones as ``refuse`` does."""

    def __init__(self, node: ScriptedNode, most: int, refuse: Any) -> None:
        self.sizes: list[int] = []
        self.most = most
        self.refuse = refuse
        node.answers[""] = self.answer

    def answer(self, asked: Any) -> Any:
        calls: Calls = asked if isinstance(asked, list) else [asked]
        self.sizes.append(len(calls))
        if len(calls) > self.most:
            return self.refuse(calls)
        answers = [result(call) for call in calls]
        return answers if isinstance(asked, list) else answers[0]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedNode]:
    async with scripted_node() as node:
        yield node


def node_of(scripted: ScriptedNode, time: FakeTime | None = None) -> EvmNode:
    time = time or FakeTime()
    return EvmNode(NodeConfig(scripted.url), clock=Clock(time.monotonic, time.sleep))


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("limit", LIMITS)
async def test_a_batch_above_the_limit_is_split_and_the_limit_remembered(
    scripted: ScriptedNode, limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.chains.evm.rpc.node.ANSWER_LIMIT", 1_500)
    limited, node = Limited(scripted, most, LIMITS[limit]), node_of(scripted)
    requests = [("eth_call", [hex(number)]) for number in range(12)]
    assert await node.batch(requests) == [hex(number) for number in range(12)]
    assert most <= node.batches.size * 2
    assert node.batches.size <= most
    limited.sizes.clear()
    assert await node.batch(requests) == [hex(number) for number in range(12)]
    assert max(limited.sizes) <= most, "it is not tried again"
    await node.close()


@pytest.mark.parametrize("answer", [result, lambda call: {**result(call), "id": str(call["id"])}])
async def test_answers_in_any_order_and_with_ids_as_text(scripted: ScriptedNode, answer: Any) -> None:
    scripted.answers[""] = lambda calls: [answer(call) for call in reversed(calls)]
    node = node_of(scripted)
    assert await node.batch([("eth_call", ["0x1"]), ("eth_call", ["0x2"])]) == ["0x1", "0x2"]
    assert node.batches.size == module.LARGEST_BATCH
    await node.close()


async def test_errors_of_the_questions_themselves_are_answers(scripted: ScriptedNode) -> None:
    """All of them may be: it costs one more request to see that."""
    asked: list[int] = []

    def reverts(body: Any) -> Any:
        calls = body if isinstance(body, list) else [body]
        asked.append(len(calls))
        answers = [error(call, "execution reverted", 3) for call in calls]
        return answers if isinstance(body, list) else answers[0]

    scripted.answers[""] = reverts
    node = node_of(scripted)
    found = await node.batch([("eth_call", [])] * 5)
    assert [type(one) for one in found] == [RpcError] * 5
    assert asked == [5, 1]
    assert node.batches.size == module.LARGEST_BATCH
    await node.close()


async def test_a_node_that_answers_nothing_at_all_is_asked_a_few_times_only(scripted: ScriptedNode) -> None:
    scripted.answers[""] = Answer("", 500)
    node = node_of(scripted)
    with pytest.raises(NodeFailure, match="HTTP 500"):
        await node.batch([("eth_call", [])] * 64)
    assert len(scripted.asked) == 7
    assert node.batches.size == module.LARGEST_BATCH, "nothing was learned of batches"
    await node.close()


async def test_a_limit_on_calls_a_second_makes_batches_smaller(scripted: ScriptedNode) -> None:
    """Vendors count the calls of a batch: one of the allowed size passes when the time has come."""
    time = FakeTime()
    limited = Limited(scripted, 2, lambda calls: [error(call, "limit exceeded", -32005) for call in calls])
    node = node_of(scripted, time)
    requests = [("eth_call", [hex(number)]) for number in range(6)]
    for _ in range(2):
        with pytest.raises(NodeFailure, match="limit exceeded"):
            await node.batch(requests)
        assert node.suspended_for > 0
        time.now += 2
    assert await node.batch(requests) == [hex(number) for number in range(6)]
    assert limited.sizes == [6, 3, 1, 1, 1, 1, 1, 1]
    await node.close()


async def test_larger_batches_are_tried_again_after_a_while(scripted: ScriptedNode) -> None:
    time = FakeTime()
    limited, node = Limited(scripted, 1, LIMITS["HTTP 500"]), node_of(scripted, time)
    requests = [("eth_call", [hex(number)]) for number in range(4)]
    await node.batch(requests)
    assert node.batches.size == 1
    limited.most = 100
    for size in (2, 4, 8):
        time.now += module.SIZE_KEPT_SECONDS
        assert await node.batch(requests) == ["0x0", "0x1", "0x2", "0x3"]
        assert node.batches.size == size
    await node.close()


async def test_one_answer_that_is_too_large_leaves_the_others(
    scripted: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.chains.evm.rpc.node.ANSWER_LIMIT", 1_000)

    def answer(body: Any) -> Any:
        calls = body if isinstance(body, list) else [body]
        answers = [result(call, "0x" + "00" * 2_000 if call["params"][0] == "large" else "0x1") for call in calls]
        return answers if isinstance(body, list) else answers[0]

    scripted.answers[""] = answer
    node = node_of(scripted)
    first, large, last = await node.batch([("eth_call", ["a"]), ("eth_call", ["large"]), ("eth_call", ["b"])])
    assert (first, last) == ("0x1", "0x1")
    assert isinstance(large, NodeFailure)
    assert large.code == TOO_LARGE
    await node.close()


async def test_many_batches_at_once_learn_together(scripted: ScriptedNode) -> None:
    limited, node = Limited(scripted, 3, LIMITS["HTTP 413"]), node_of(scripted)
    requests = [("eth_call", [hex(number)]) for number in range(10)]
    found = await asyncio.gather(*(node.batch(requests) for _ in range(5)))
    assert all(one == [hex(number) for number in range(10)] for one in found)
    assert 1 <= node.batches.size <= limited.most
    await node.close()
