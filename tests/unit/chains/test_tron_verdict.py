"""DEAD is said only when one node proves it; whatever is missing, the answer is OPEN or no answer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.values import Payment, Proof, Verdict
from tests.unit.chains.scripted_node import Answer, ScriptedNode, scripted_node
from tests.unit.chains.tron_answers import (
    RECEIVER,
    SENDER,
    START_MS,
    TRX,
    header,
    listed,
    provider_of,
    receipt,
    signed_payment,
)

EXPIRES = START_MS + 60_000
SIGNED = signed_payment(Payment(SENDER, RECEIVER, TRX, 1), ref=100, expiration_ms=EXPIRES)


def serve(node: ScriptedNode, *solid_times: int, found_in: int | None = None, info: Any = None) -> None:
    """Solid heads of these times after the expiration (ms), one for each question, the last for ever."""
    times = list(solid_times)

    def get_block(body: dict[str, Any]) -> Any:
        if "id_or_num" in body:
            return header(int(body["id_or_num"]))
        late = times.pop(0) if len(times) > 1 else times[0]
        return header(200 + late // 3000, EXPIRES + late)

    node.answers["walletsolidity/getblock"] = get_block
    node.answers["walletsolidity/gettransactioninfobyid"] = info or (
        {} if found_in is None else receipt(SIGNED, found_in)
    )
    node.answers["walletsolidity/getblockbynum"] = lambda body: header(body["num"]) | {"transactions": [listed(SIGNED)]}


async def verdict_of(prepare: Callable[[ScriptedNode], None], signed: Any = SIGNED) -> Verdict:
    async with scripted_node() as node:
        prepare(node)
        provider = provider_of(node)
        try:
            return await provider.verdict(signed)
        finally:
            await provider.close()


async def test_found_is_final() -> None:
    verdict = await verdict_of(lambda node: serve(node, 0, found_in=150))
    assert verdict.proof is Proof.FINAL
    assert verdict.result is not None
    assert verdict.result.block.number == 150
    assert "solid block 150" in verdict.evidence


async def test_found_is_final_long_after_the_expiration_too() -> None:
    assert (await verdict_of(lambda node: serve(node, 10**9, found_in=150))).proof is Proof.FINAL


@pytest.mark.parametrize(
    ("late", "proof"),
    [
        (-3000, Proof.OPEN),
        (0, Proof.OPEN),
        (14_999, Proof.OPEN),
        (15_000, Proof.DEAD),
        (10**8, Proof.DEAD),
    ],
)
async def test_dead_from_the_margin_on(late: int, proof: Proof) -> None:
    verdict = await verdict_of(lambda node: serve(node, late))
    assert verdict.proof is proof
    assert verdict.result is None
    assert verdict.evidence


async def test_a_height_that_goes_back_proves_nothing() -> None:
    verdict = await verdict_of(lambda node: serve(node, 60_000, 30_000))
    assert verdict.proof is Proof.OPEN
    assert "went back" in verdict.evidence


async def test_a_height_that_passes_only_during_the_lookup_proves_nothing() -> None:
    """A block solidified between the lookup and the second question could hold the transaction."""
    assert (await verdict_of(lambda node: serve(node, 14_000, 60_000))).proof is Proof.OPEN


async def test_another_chain_at_the_reference_block_proves_nothing() -> None:
    def prepare(node: ScriptedNode) -> None:
        serve(node, 60_000)
        inner = node.answers["walletsolidity/getblock"]

        def other(body: dict[str, Any]) -> Any:
            return inner(body) if "id_or_num" not in body else header(100) | {"blockID": f"{100:016x}" + "ff" * 24}

        node.answers["walletsolidity/getblock"] = other

    verdict = await verdict_of(prepare)
    assert verdict.proof is Proof.OPEN
    assert "not the one that the transaction refers to" in verdict.evidence


async def test_a_node_without_that_history_proves_nothing() -> None:
    def prepare(node: ScriptedNode) -> None:
        serve(node, 60_000)
        inner = node.answers["walletsolidity/getblock"]
        node.answers["walletsolidity/getblock"] = lambda body: {} if "id_or_num" in body else inner(body)

    with pytest.raises(ChainUnavailable, match="does not have block 100"):
        await verdict_of(prepare)


async def test_without_reference_or_expiration_nothing_is_proved() -> None:
    assert (await verdict_of(lambda node: serve(node, 60_000), replace(SIGNED, ref_block=None))).proof is Proof.OPEN
    assert (await verdict_of(lambda node: serve(node, 60_000), replace(SIGNED, expiration=None))).proof is Proof.OPEN


async def test_an_answer_that_is_no_lookup_is_not_taken_for_absence() -> None:
    for answer in ([], {"Error": "x"}, "<html>", Answer("", 503), None):
        with pytest.raises(ChainUnavailable):
            await verdict_of(lambda node, answer=answer: serve(node, 60_000, info=answer or [None]))


async def test_one_node_answers_all_of_it() -> None:
    """The first node knows the height, then fails at the lookup: the second is asked everything again."""
    async with scripted_node() as first, scripted_node() as second:
        serve(first, 60_000)
        first.answers["walletsolidity/gettransactioninfobyid"] = Answer("", 500)
        serve(second, -9000)
        provider = provider_of(first, second)
        verdict = await provider.verdict(SIGNED)
        assert verdict.proof is Proof.OPEN, "the second node is behind: with the first one's height it would be DEAD"
        assert second.url in verdict.evidence
        await provider.close()
