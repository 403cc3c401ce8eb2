"""Several nodes as one: failover, patience without real waiting, and networks compared first."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from pipeline.chains.errors import ChainUnavailable, InconsistentNode, SimulationFailed, WrongNetwork
from pipeline.chains.rpc.http import Clock, Node, NodeConfig, NodeFailure
from pipeline.chains.rpc.nodes import Nodes, Partial
from tests.unit.chains.scripted_node import Answer, FakeTime, ScriptedNode, scripted_node


class Verifier:
    """Counts comparisons; fails those of the urls in ``wrong``."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.wrong: set[str] = set()

    async def __call__(self, node: Node) -> None:
        self.seen.append(node.name)
        if node.name in self.wrong:
            raise WrongNetwork(f"{node.name} is of another network")


def nodes_of(time: FakeTime, verifier: Verifier, *scripted: ScriptedNode, keys: tuple[str, ...] = ()) -> Nodes[Node]:
    clock = Clock(time.monotonic, time.sleep)
    made = [Node(NodeConfig(one.url), keys, clock=clock) for one in scripted]
    return Nodes("tron", made, verifier, patience=20, clock=clock)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Lines with their tracebacks."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)))
    yield lines
    logger.remove(sink)


async def ask(node: Node) -> Any:
    return await node.post("wallet/x", {})


async def test_the_second_node_answers_when_the_first_fails() -> None:
    time, verifier = FakeTime(), Verifier()
    async with scripted_node(wallet_x=1) as first, scripted_node(wallet_x=2) as second:
        nodes = nodes_of(time, verifier, first, second)
        first.faults = [Answer(drop=True)]
        assert await nodes.ask(ask) == 2
        assert time.slept == []
        assert await nodes.ask(ask) == 2, "a node that just failed is asked after the others"
        time.now += 2
        assert await nodes.ask(ask) == 1, "and first again after its rest"
        assert verifier.seen == [first.url, second.url, first.url], "after a broken connection it is compared again"
        await nodes.close()


async def test_failures_pass_with_patience_and_jitter() -> None:
    time = FakeTime()
    async with scripted_node(wallet_x=["late"]) as only:
        nodes = nodes_of(time, Verifier(), only)
        only.faults = [Answer("<html>", 502), Answer("<html>"), Answer("busy", 503)]
        assert await nodes.ask(ask) == ["late"]
        assert len(time.slept) == 3
        assert time.slept[2] >= 1, "a suspension is waited for"
        await nodes.close()


async def test_patience_ends_and_the_error_says_what_each_node_did() -> None:
    time = FakeTime()
    async with scripted_node() as first, scripted_node() as second:
        nodes = nodes_of(time, Verifier(), first, second)
        first.answers["wallet/x"] = Answer("<html>sorry")
        second.answers["wallet/x"] = Answer("", 500)
        with pytest.raises(ChainUnavailable) as caught:
            await nodes.ask(ask)
        assert f"{first.url} answered wallet/x with an HTML page" in str(caught.value)
        assert f"{second.url} answered wallet/x with HTTP 500" in str(caught.value)
        assert 15 < time.now - 1000 < 30
        await nodes.close()


async def test_a_ban_longer_than_the_patience_fails_at_once() -> None:
    time = FakeTime()
    async with scripted_node(wallet_x=1) as only:
        nodes = nodes_of(time, Verifier(), only)
        only.faults = [Answer("banned", 403)]
        with pytest.raises(ChainUnavailable, match="HTTP 403"):
            await nodes.ask(ask)
        with pytest.raises(ChainUnavailable, match="suspended for 30 s more"):
            await nodes.ask(ask)
        assert (time.slept, len(only.asked)) == ([], 1)
        time.now += 30
        assert await nodes.ask(ask) == 1
        await nodes.close()


async def test_another_key_is_used_instead_of_waiting() -> None:
    time = FakeTime()
    async with scripted_node(wallet_x=1) as only:
        nodes = nodes_of(time, Verifier(), only, keys=("one", "two"))
        only.faults = [Answer("banned", 403)]
        assert await nodes.ask(ask) == 1
        assert only.keys == ["one", "two"]
        assert time.now - 1000 < 1
        await nodes.close()


async def test_all_of_one_question_goes_to_one_node() -> None:
    async with scripted_node(wallet_x=1, wallet_y=1) as first, scripted_node(wallet_x=2, wallet_y=2) as second:
        nodes = nodes_of(FakeTime(), Verifier(), first, second)
        first.answers["wallet/y"] = Answer("", 500)

        async def both(node: Node) -> tuple[Any, Any]:
            return await node.post("wallet/x", {}), await node.post("wallet/y", {})

        assert await nodes.ask(both) == (2, 2)
        await nodes.close()


async def test_a_node_of_another_network_is_refused() -> None:
    verifier = Verifier()
    async with scripted_node(wallet_x=1) as first, scripted_node(wallet_x=2) as second:
        nodes = nodes_of(FakeTime(), verifier, first, second)
        verifier.wrong = {second.url}
        assert await nodes.ask(ask) == 1
        with pytest.raises(WrongNetwork, match=second.url):
            await nodes.check_all()
        first.answers.clear()
        with pytest.raises(WrongNetwork, match=second.url):
            await nodes.ask(ask)
        assert second.asked == [], "it is never asked anything else"
        await nodes.close()


async def test_check_all_bears_a_node_that_is_down_but_not_all() -> None:
    class Down(Verifier):
        async def __call__(self, node: Node) -> None:
            await super().__call__(node)
            await node.post("wallet/genesis", {})

    async with scripted_node() as first, scripted_node(wallet_genesis=1) as second:
        nodes = nodes_of(FakeTime(), Down(), first, second)
        await nodes.check_all()
        second.answers.clear()
        with pytest.raises(ChainUnavailable, match=r"HTTP 404.*HTTP 404"):
            await nodes.check_all()
        await nodes.close()


async def test_a_node_of_another_network_does_not_keep_the_others_from_answering() -> None:
    verifier = Verifier()
    async with scripted_node(wallet_x=1) as first, scripted_node(wallet_x=2) as second:
        nodes = nodes_of(FakeTime(), verifier, first, second)
        verifier.wrong = {first.url}
        assert await nodes.ask(ask) == 2
        assert await nodes.ask(ask) == 2
        assert verifier.seen == [first.url, second.url], "it is asked last"
        assert "another network" in nodes.troubles()[first.url]
        await nodes.close()


async def test_a_node_that_gives_false_answers_is_asked_last_and_the_next_one_answers() -> None:
    async with scripted_node(wallet_x=1) as first, scripted_node(wallet_x=2) as second:
        nodes = nodes_of(FakeTime(), Verifier(), first, second)

        async def lie(node: Node) -> Any:
            if node.name == first.url:
                raise InconsistentNode(f"{node.name} lies")
            return await ask(node)

        assert await nodes.ask(lie) == 2
        assert await nodes.ask(ask) == 2
        assert nodes.troubles() == {first.url: f"1 failures, the last: {first.url} lies"}
        await nodes.close()


async def test_where_every_answer_is_false_it_is_said_at_once() -> None:
    time = FakeTime()
    async with scripted_node() as first, scripted_node() as second:
        nodes = nodes_of(time, Verifier(), first, second)

        async def lie(node: Node) -> Any:
            raise InconsistentNode(f"{node.name} lies")

        with pytest.raises(InconsistentNode, match=f"{first.url} lies; {second.url} lies"):
            await nodes.ask(lie)
        assert time.slept == []
        await nodes.close()


async def test_a_false_answer_is_told_even_where_another_node_is_away() -> None:
    async with scripted_node() as first, scripted_node() as second:
        nodes = nodes_of(FakeTime(), Verifier(), first, second)

        async def lie(node: Node) -> Any:
            if node.name == first.url:
                raise InconsistentNode(f"{node.name} lies")
            return await ask(node)

        with pytest.raises(InconsistentNode, match=f"{first.url} lies; .*HTTP 404"):
            await nodes.ask(lie)
        await nodes.close()


async def test_what_nobody_expects_is_a_failure_of_the_node(logged: list[str]) -> None:
    async with scripted_node(wallet_x=1) as first, scripted_node(wallet_x=2) as second:
        nodes = nodes_of(FakeTime(), Verifier(), first, second)

        async def broken(node: Node) -> Any:
            if node.name == first.url:
                raise ZeroDivisionError("by \x1b[31mzero")
            return await ask(node)

        assert await nodes.ask(broken) == 2
        assert "ZeroDivisionError: by \\x1b[31mzero" in nodes.troubles()[first.url]
        assert any("Traceback" in line and "in broken" in line for line in logged)
        with pytest.raises(ChainUnavailable, match="ZeroDivisionError"):
            await Nodes("tron", nodes.all[:1], Verifier(), patience=0).ask(broken)
        await nodes.close()


@pytest.mark.parametrize("error", [SimulationFailed("paused"), asyncio.CancelledError()])
async def test_an_answer_that_is_no_and_a_cancellation_pass_at_once(error: BaseException) -> None:
    async with scripted_node() as first, scripted_node() as second:
        nodes = nodes_of(FakeTime(), Verifier(), first, second)
        asked = []

        async def say_no(node: Node) -> Any:
            asked.append(node.name)
            raise error

        with pytest.raises(type(error)):
            await nodes.ask(say_no)
        assert asked == [first.url]
        await nodes.close()


async def test_an_answer_with_a_part_missing_counts_only_where_no_node_has_it_whole() -> None:
    async with scripted_node() as first, scripted_node() as second:
        nodes = nodes_of(FakeTime(), Verifier(), first, second)
        lacking = {first.url: 2, second.url: 1}

        async def read(node: Node) -> str:
            if lacking[node.name]:
                raise Partial(
                    f"{node.name} lacks {lacking[node.name]}", f"without {lacking[node.name]}", lacking[node.name]
                )
            return "whole"

        assert await nodes.ask(read) == "without 1"
        lacking[second.url] = 0
        assert await nodes.ask(read) == "whole"
        assert nodes.in_order()[0].name == first.url, "it is as good as the other for everything else"
        await nodes.close()


async def test_a_node_that_fails_again_and_again_rests_longer() -> None:
    time = FakeTime()
    async with scripted_node() as only:
        nodes = nodes_of(time, Verifier(), only)
        rests = []
        for _ in range(8):
            nodes.failed(nodes.all[0], NodeFailure("timeout", "…"))
            rests.append(nodes.all[0].resting_until - time.now)
        assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
        await nodes.close()


def test_without_nodes_the_error_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="set FLAGPOST_NODES_TRON_NILE"):
        Nodes("tron-nile", [], Verifier())
