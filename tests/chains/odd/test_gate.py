"""Every value of every recorded answer, replaced by odd ones: a right value or an error of ours, and no escape.

Every 13th of some 150,000 cases; all of them with FLAGPOST_WALKS=1 in the environment (several minutes).
"""

import os

import pytest

from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.rpc.http import Clock, Node, NodeConfig, NodeFailure
from pipeline.chains.rpc.wire import Reply
from tests.chains.odd.evm_scenes import EvmScenes
from tests.chains.odd.gate import Verdict, run
from tests.chains.odd.recorded import Replay
from tests.chains.odd.tron_scenes import TronScenes
from tests.chains.provider.evm_network import evm_network
from tests.chains.provider.network import FakeTime
from tests.chains.provider.tron_network import tron_network
from tests.conftest import WALKS

SAMPLE = 1 if os.environ.get(WALKS) else 13
"""Has no divisor in common with the number of odd values, so that each place meets others of them."""


def judged(verdict: Verdict, capsys: pytest.CaptureFixture[str], at_least: int) -> None:
    with capsys.disabled():
        print(f"\n{verdict}")  # noqa: T201
    assert verdict.cases >= at_least
    assert not verdict.escapes, "\n".join(verdict.escapes[:40])
    assert not verdict.false_values, "\n".join(verdict.false_values[:40])


async def test_no_odd_answer_of_an_evm_node_escapes(capsys: pytest.CaptureFixture[str], quiet: None) -> None:
    async with evm_network() as network:
        scenes, make = await EvmScenes(network).record()
    judged(await run(scenes, make, SAMPLE), capsys, 6_500)


async def test_no_odd_answer_of_a_tron_node_escapes(capsys: pytest.CaptureFixture[str], quiet: None) -> None:
    async with tron_network() as network:
        scenes, make = await TronScenes(network).record()
    judged(await run(scenes, make, SAMPLE), capsys, 3_600)


HEADERS = ["1", "0", "-5", "1e999", "9" * 4_000, "\u0661\u0662", "nan", "", "Wed, 21 Oct 2099 07:28:00 GMT", "a\x00b"]
HEADERS += ["Wed, 21 Oct 2015 07:28:00 -0000", "Wed, 99 Oct 99999 99:99:99 +9999", "Mon, 1 Jan 1 00:00:00 +0100"]
BODIES = [b"", b"\xff" * 50, b"you are suspended for 99999999999999999999 s", b"banned: " + b"9" * 5_000 + b" s"]
BODIES += [b"<html>\x1b[2J\nforged", b'{"Error": "\\ud800\\u0000"}', b'"\\ud800"', b"[" * 1_000]


@pytest.mark.parametrize(
    "status", [100, 204, 200, 206, 301, 307, 400, 401, 403, 404, 413, 418, 429, 500, 503, 599, 999]
)
async def test_no_odd_answer_of_http_escapes(status: int, quiet: None) -> None:
    time = FakeTime()
    for header in HEADERS:
        for body in BODIES:
            node = Node(NodeConfig("http://127.0.0.1:1"), clock=Clock(time.monotonic, time.sleep))
            headers = {"Retry-After": header, "Location": f"http://user:{header}@elsewhere/{header}"}
            node._wire = Replay([], always=Reply(status, body, headers))
            try:
                await node.post("wallet/x", {})
            except NodeFailure as failure:
                said = str(failure)
            else:
                said = ""
                assert status == 200
            assert said.isprintable()
            assert len(said) < 1_000
            assert 0 <= node.suspended_for <= 3600


async def test_a_batch_is_answered_or_refused_whatever_its_envelopes_are(quiet: None) -> None:
    """What the other test leaves alone: ids, versions, and the order of answers."""
    good = {"jsonrpc": "2.0", "id": 1, "result": "0x1"}
    ids = [None, True, 1.0, -1, "1", " 1", 10**30, [1], {"id": 1}, "\ud800", "x" * 10_000, 3]
    for odd in [{**good, "id": one} for one in ids] + [{}, None, 5, "x", [good], {"id": 1}, {"id": 1, "error": {}}]:
        for answer in ([odd, odd, odd], [odd], odd, [good, odd], [odd, good, {**good, "id": 2}]):
            node = EvmProvider("anvil", 1, [NodeConfig("http://127.0.0.1:1")], [], patience=0)._nodes.all[0]
            node._wire = Replay([], always=answer)
            try:
                found = str(len(await node.batch([("eth_gasPrice", [])] * 3)))
            except NodeFailure as failure:
                found = str(failure)
            assert found == "3" or (len(found) > 1 and found.isprintable())
