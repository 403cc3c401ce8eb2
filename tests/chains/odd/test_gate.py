"""Every value of every recorded answer of a node, replaced by odd ones: a right value or an error of ours, no escape."""

from pytest import CaptureFixture

from tests.chains.odd.evm_scenes import EvmScenes
from tests.chains.odd.gate import Verdict, run
from tests.chains.odd.tron_scenes import TronScenes
from tests.chains.provider.evm_network import evm_network
from tests.chains.provider.tron_network import tron_network


def judged(verdict: Verdict, capsys: CaptureFixture[str], at_least: int) -> None:
    with capsys.disabled():
        print(f"\n{verdict}")  # noqa: T201
    assert verdict.cases >= at_least
    assert not verdict.escapes, "\n".join(verdict.escapes[:40])
    assert not verdict.false_values, "\n".join(verdict.false_values[:40])


async def test_no_odd_answer_of_an_evm_node_escapes(capsys: CaptureFixture[str]) -> None:
    async with evm_network() as network:
        scenes, make = await EvmScenes(network).record()
    judged(await run(scenes, make), capsys, 10_000)


async def test_no_odd_answer_of_a_tron_node_escapes(capsys: CaptureFixture[str]) -> None:
    async with tron_network() as network:
        scenes, make = await TronScenes(network).record()
    judged(await run(scenes, make), capsys, 10_000)
