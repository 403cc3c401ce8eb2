"""Every fault, as a client sees it, and what the chain says happened."""

import asyncio

import aiohttp
import pytest

from pipeline.devnet.client import DevnetClient, DevnetError
from pipeline.devnet.faults import FaultKind
from tests.chains.devnet.hand import Api, Hand, fresh_address
from tests.patience import PATIENCE

BROADCAST = "wallet/broadcasthex"


async def happened(devnet: DevnetClient, receiver: str) -> int:
    """How often the chain paid ``receiver``, once all that is pooled is solid."""
    await devnet.solidify()
    return sum(payment.receiver == receiver for payment in await devnet.audit(solid=True))


@pytest.mark.parametrize(("kind", "paid"), [(FaultKind.LOST_REQUEST, 0), (FaultKind.LOST_REPLY, 1)])
async def test_lost(api: Api, alice: Hand, devnet: DevnetClient, kind: FaultKind, paid: int) -> None:
    receiver = fresh_address()
    await devnet.add_fault(kind, BROADCAST, count=1)
    signed = await alice.transfer(receiver, 1)
    with pytest.raises(aiohttp.ClientError):
        await api.send(signed)
    assert await happened(devnet, receiver) == paid
    again = await api.send(signed)
    assert again["code"] == ("DUP_TRANSACTION_ERROR" if paid else "SUCCESS")


async def test_late_reply_is_processed_at_once(api: Api, alice: Hand, devnet: DevnetClient) -> None:
    receiver = fresh_address()
    await devnet.add_fault(FaultKind.LATE_REPLY, BROADCAST, seconds=30)
    sending = asyncio.create_task(api.send(await alice.transfer(receiver, 1)))
    while not (await devnet.status()).pending:
        assert not sending.done()
    sending.cancel()
    assert await happened(devnet, receiver) == 1


async def test_late_request_is_processed_after_the_client_gave_up(api: Api, alice: Hand, devnet: DevnetClient) -> None:
    receiver = fresh_address()
    await devnet.add_fault(FaultKind.LATE_REQUEST, BROADCAST, seconds=1)
    signed = await alice.transfer(receiver, 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(api.send(signed), 0.01)
    assert (await devnet.status()).pending == ()
    async with asyncio.timeout(PATIENCE):
        while not (await devnet.status()).pending:
            pass
    assert await happened(devnet, receiver) == 1


async def test_duplicated_processing_pays_once(api: Api, alice: Hand, devnet: DevnetClient) -> None:
    receiver = fresh_address()
    await devnet.add_fault(FaultKind.DUPLICATED, BROADCAST)
    assert (await api.send(await alice.transfer(receiver, 1)))["code"] == "DUP_TRANSACTION_ERROR"
    assert await happened(devnet, receiver) == 1


async def test_false_txid(api: Api, alice: Hand, devnet: DevnetClient) -> None:
    receiver = fresh_address()
    await devnet.add_fault(FaultKind.FALSE_TXID, BROADCAST, count=1)
    answer = await api.send(await alice.transfer(receiver, 1))
    assert (answer["code"], len(answer["txid"])) == ("SUCCESS", 64)
    pending = (await devnet.status()).pending
    assert answer["txid"] not in pending
    assert await happened(devnet, receiver) == 1


@pytest.mark.parametrize("process", [True, False])
async def test_false_reply(api: Api, alice: Hand, devnet: DevnetClient, process: bool) -> None:
    receiver = fresh_address()
    await devnet.add_fault(FaultKind.FALSE_REPLY, BROADCAST, body={"result": True}, process=process, count=1)
    assert await api.send(await alice.transfer(receiver, 1)) == {"result": True}
    assert await happened(devnet, receiver) == int(process)


@pytest.mark.parametrize("process", [True, False])
async def test_false_code(api: Api, alice: Hand, devnet: DevnetClient, process: bool) -> None:
    receiver = fresh_address()
    await devnet.add_fault(FaultKind.FALSE_CODE, BROADCAST, code="SIGERROR", message="no", process=process, count=1)
    answer = await api.send(await alice.transfer(receiver, 1))
    assert (answer["result"], answer["code"], answer["message"]) == (False, "SIGERROR", "no")
    assert await happened(devnet, receiver) == int(process)


async def test_swallowed_says_success(api: Api, alice: Hand, devnet: DevnetClient) -> None:
    receiver = fresh_address()
    await devnet.add_fault(FaultKind.SWALLOWED, "wallet/*", count=1)
    signed = await alice.transfer(receiver, 1)
    answer = await api.send(signed)
    assert (answer["result"], answer["code"]) == (True, "SUCCESS")
    assert await happened(devnet, receiver) == 0
    assert (await api.send(signed))["result"] is True, "it was not even remembered"


async def test_server_busy(api: Api, alice: Hand, devnet: DevnetClient) -> None:
    await devnet.add_fault(FaultKind.SERVER_BUSY, "wallet/*", count=2)
    assert (await api.send(b""))["code"] == "SERVER_BUSY"
    assert "Error" in await api.ask("wallet/getnowblock")
    assert "blockID" in await api.ask("wallet/getnowblock")


async def test_http_refusals(api: Api, devnet: DevnetClient) -> None:
    await devnet.add_fault(FaultKind.TOO_MANY, "wallet/*", count=1)
    assert (await api.post("wallet/getnowblock"))[0] == 429
    assert (await api.post("wallet/getnowblock"))[0] == 200
    await devnet.add_fault(FaultKind.BANNED, "wallet/getnowblock", count=1)
    status, text = await api.post("wallet/getnowblock")
    assert (status, "30 seconds" in text) == (403, True)
    assert (await api.post("walletsolidity/getaccount"))[0] == 403, "the ban is for everything"
    assert await devnet.clear_faults() == 0
    assert (await api.post("wallet/getnowblock"))[0] == 200
    await devnet.add_fault(FaultKind.SUSPENDED, "*", count=1)
    status, text = await api.post("wallet/getnowblock")
    assert (status, "exceeded the allowed_rps" in text, "suspended for 5 s" in text) == (503, True, True)
    assert (await api.post("wallet/getnodeinfo"))[0] == 503


async def test_a_suspension_ends(api: Api, devnet: DevnetClient) -> None:
    await devnet.add_fault(FaultKind.SUSPENDED, "*", count=1, seconds=0.001)
    assert (await api.post("wallet/getnowblock"))[0] == 503
    await asyncio.sleep(0.002)  # the time itself is what is tested
    assert (await api.post("wallet/getnowblock"))[0] == 200


async def test_html(api: Api, devnet: DevnetClient) -> None:
    await devnet.add_fault(FaultKind.HTML, "wallet/getnowblock", count=1)
    status, text = await api.post("wallet/getnowblock")
    assert (status, text[:6]) == (200, "<html>")


async def test_faults_belong_to_a_node_and_to_paths(api: Api, devnet: DevnetClient) -> None:
    other = Api(api._session, (await devnet.start_node("other")).url)
    rule = await devnet.add_fault(FaultKind.TOO_MANY, "walletsolidity/*", node="other")
    assert (await api.post("walletsolidity/getnowblock"))[0] == 200
    assert (await other.post("wallet/getnowblock"))[0] == 200
    assert (await other.post("walletsolidity/getnowblock"))[0] == 429
    [left] = (await devnet.faults())["other"]
    assert (left["id"], left["hits"], left["kind"]) == (rule, 1, "too_many")
    assert await devnet.clear_faults("other") == 1
    await devnet.stop_node("other")
    with pytest.raises(aiohttp.ClientConnectorError):
        await other.post("wallet/getnowblock")


async def test_mistakes_in_commands_are_named(devnet: DevnetClient) -> None:
    for command, words in (
        (devnet.freeze("nobody"), "nobody"),
        (devnet.set_params(energy_price=3), "energy_price"),
        (devnet.faucet("TXYZ", 3), "TXYZ"),
        (devnet.faucet((await devnet.status()).faucet, 3), "yourself"),
        (devnet.stop_node("main"), "main"),
        (devnet.call((await devnet.status()).faucet, "mint(address,uint256)"), "mint"),
    ):
        with pytest.raises(DevnetError, match=words):
            await command
