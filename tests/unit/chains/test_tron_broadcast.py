"""A broadcast's answer, whatever it is, proves nothing; what is known of it is told as it is."""

from typing import Any

import pytest

from pipeline.chains.errors import InconsistentNode
from pipeline.chains.values import BroadcastOutcome, Payment
from tests.unit.chains.scripted_node import Answer, scripted_node
from tests.unit.chains.tron_answers import RECEIVER, SENDER, TRX, provider_of, signed_payment

SIGNED = signed_payment(Payment(SENDER, RECEIVER, TRX, 1))


def reply(code: str, message: str = "") -> dict[str, Any]:
    return {"result": code == "SUCCESS", "code": code, "message": message, "txid": SIGNED.txid}


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("SUCCESS", BroadcastOutcome.ACCEPTED),
        ("DUP_TRANSACTION_ERROR", BroadcastOutcome.KNOWN),
        ("SIGERROR", BroadcastOutcome.REFUSED),
        ("CONTRACT_VALIDATE_ERROR", BroadcastOutcome.REFUSED),
        ("CONTRACT_EXE_ERROR", BroadcastOutcome.REFUSED),
        ("BANDWITH_ERROR", BroadcastOutcome.REFUSED),
        ("TAPOS_ERROR", BroadcastOutcome.OUTDATED),
        ("TOO_BIG_TRANSACTION_ERROR", BroadcastOutcome.REFUSED),
        ("TRANSACTION_EXPIRATION_ERROR", BroadcastOutcome.OUTDATED),
        ("SERVER_BUSY", BroadcastOutcome.UNKNOWN),
        ("NO_CONNECTION", BroadcastOutcome.UNKNOWN),
        ("NOT_ENOUGH_EFFECTIVE_CONNECTION", BroadcastOutcome.UNKNOWN),
        ("BLOCK_UNSOLIDIFIED", BroadcastOutcome.UNKNOWN),
        ("OTHER_ERROR", BroadcastOutcome.UNKNOWN),
        ("A_CODE_OF_THE_FUTURE", BroadcastOutcome.UNKNOWN),
    ],
)
async def test_codes(code: str, outcome: BroadcastOutcome) -> None:
    async with scripted_node(wallet_broadcasthex=reply(code, "why")) as node:
        provider = provider_of(node)
        answer = await provider.broadcast(SIGNED)
        assert (answer.outcome, answer.code, answer.message) == (outcome, code, "why")
        assert node.asked.count("wallet/broadcasthex") == 1
        await provider.close()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(drop=True), "connection"),
        (Answer("<html>"), "not json"),
        (Answer("", 502), "http 502"),
        (Answer("", 429), "http 429"),
        ({"Error": "class NullPointerException"}, "node error"),
        ([], "shape"),
        ({}, "OTHER_ERROR"),
        ({"code": "SUCCESS"}, "SUCCESS"),
    ],
)
async def test_no_usable_answer_is_unknown_and_not_sent_twice_to_a_node(answer: Any, code: str) -> None:
    async with scripted_node(wallet_broadcasthex=answer) as node:
        provider = provider_of(node)
        told = await provider.broadcast(SIGNED)
        assert (told.outcome, told.code) == (BroadcastOutcome.UNKNOWN, code)
        assert node.asked.count("wallet/broadcasthex") == 1
        await provider.close()


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (reply("SUCCESS"), BroadcastOutcome.ACCEPTED),
        (reply("DUP_TRANSACTION_ERROR"), BroadcastOutcome.UNKNOWN),
        (reply("CONTRACT_VALIDATE_ERROR"), BroadcastOutcome.UNKNOWN),
        (reply("SERVER_BUSY"), BroadcastOutcome.UNKNOWN),
    ],
)
async def test_the_second_node_gets_the_bytes_but_its_refusal_does_not_hide_the_unknown(
    second: Any, outcome: BroadcastOutcome
) -> None:
    sent: list[str] = []
    async with scripted_node() as first, scripted_node() as other:
        first.answers["wallet/broadcasthex"] = lambda body: sent.append(body["transaction"]) or Answer(drop=True)
        other.answers["wallet/broadcasthex"] = lambda body: sent.append(body["transaction"]) or second
        provider = provider_of(first, other)
        assert (await provider.broadcast(SIGNED)).outcome is outcome
        assert sent == [SIGNED.raw.hex()] * 2
        await provider.close()


async def test_a_refusal_is_not_taken_to_another_node() -> None:
    async with scripted_node(wallet_broadcasthex=reply("SIGERROR")) as first, scripted_node() as second:
        provider = provider_of(first, second)
        assert (await provider.broadcast(SIGNED)).outcome is BroadcastOutcome.REFUSED
        assert second.asked == []
        await provider.close()


async def test_another_txid_is_a_lie() -> None:
    async with scripted_node(wallet_broadcasthex=reply("SUCCESS") | {"txid": "ab" * 32}) as node:
        provider = provider_of(node)
        with pytest.raises(InconsistentNode, match=f"answered the broadcast of {SIGNED.txid} with txid abab"):
            await provider.broadcast(SIGNED)
        await provider.close()


async def test_a_node_of_another_network_gets_nothing() -> None:
    async with scripted_node(wallet_broadcasthex=reply("SUCCESS")) as node:
        provider = provider_of(node)
        node.answers["wallet/getblockbynum"] = {"blockID": "ff" * 32}
        told = await provider.broadcast(SIGNED)
        assert (told.outcome, told.code) == (BroadcastOutcome.UNKNOWN, "wrong network")
        assert "belongs to another network" in told.message
        assert "wallet/broadcasthex" not in node.asked
        await provider.close()


async def test_messages_in_hex_are_read() -> None:
    async with scripted_node(wallet_broadcasthex=reply("SIGERROR", b"Validate signature error".hex())) as node:
        provider = provider_of(node)
        assert (await provider.broadcast(SIGNED)).message == "Validate signature error"
        await provider.close()
