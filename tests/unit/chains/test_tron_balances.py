"""The batch call's answer must fit the question and the chain."""

from typing import Any

import pytest

from pipeline.chains.errors import ChainUnavailable, InconsistentNode
from pipeline.chains.values import BalanceQuery, Finality
from tests.unit.chains.scripted_node import scripted_node
from tests.unit.chains.tron_answers import SENDER, START_MS, TRX, header, provider_of

NUMBER = 70
SECONDS = START_MS // 1000 + 3 * NUMBER


def returned(*balances: int, number: int = NUMBER, seconds: int = SECONDS) -> dict[str, Any]:
    words = number.to_bytes(32, "big") + seconds.to_bytes(32, "big")
    words += b"".join(b"\1" + balance.to_bytes(32, "big") for balance in balances)
    return {"result": {"result": True}, "constant_result": [words.hex()], "transaction": {"ret": [{}]}}


async def test_the_answer_is_taken_apart() -> None:
    async with scripted_node(
        walletsolidity_triggerconstantcontract=returned(5, 2**256 - 1), walletsolidity_getblock=header(NUMBER)
    ) as node:
        provider = provider_of(node)
        balances = await provider.balances([BalanceQuery(SENDER, TRX)] * 2)
        assert [balance.raw for balance in balances] == [5, 2**256 - 1]
        assert balances[0].block is not None
        assert balances[0].block.number == NUMBER
        await provider.balances([BalanceQuery(SENDER, TRX)] * 2)
        assert node.asked.count("walletsolidity/getblock") == 1, "a final block is asked for once"
        await provider.close()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (returned(5), "bytes to a read of 2 balances"),
        (returned(5, 6, 7), "bytes to a read of 2 balances"),
        (returned(5, 6, seconds=SECONDS - 3), "at another block 70 than it has now"),
        ({"result": {"result": True}}, "unknown form"),
        ({"result": {"result": True}, "constant_result": ["xy"]}, "unknown form"),
        ([], "unknown form"),
    ],
)
async def test_an_answer_that_does_not_fit_is_not_used(answer: Any, message: str) -> None:
    async with scripted_node(
        wallet_triggerconstantcontract=lambda body: answer, wallet_getblock=header(NUMBER)
    ) as node:
        provider = provider_of(node)
        with pytest.raises(ChainUnavailable, match=message):
            await provider.balances([BalanceQuery(SENDER, TRX)] * 2, Finality.HEAD)
        await provider.close()


async def test_another_block_than_the_one_read_at_is_a_lie() -> None:
    async with scripted_node(
        walletsolidity_triggerconstantcontract=returned(5), walletsolidity_getblock=header(NUMBER + 1)
    ) as node:
        provider = provider_of(node)
        with pytest.raises(InconsistentNode, match="asked for block 70 and answered block 71"):
            await provider.balances([BalanceQuery(SENDER, TRX)])
        await provider.close()
