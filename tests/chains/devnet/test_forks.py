"""Solid state, forks, stale and lagging nodes, stopped clocks."""

import pytest

from pipeline.devnet.client import DevnetClient, DevnetError
from pipeline.devnet.server import DevnetOptions, running
from tests.chains.devnet.conftest import SOLID_LAG
from tests.chains.devnet.hand import Api, Hand, fresh_address, selector, word


async def read_token(api: Api, room: str, contract: str, holder: str) -> int:
    answer = await api.ask(
        f"{room}/triggerconstantcontract",
        owner_address=holder,
        contract_address=contract,
        function_selector="balanceOf(address)",
        parameter=word(holder).hex(),
        visible=True,
    )
    return int(answer["constant_result"][0], 16)


async def coins(api: Api, room: str, holder: str) -> int:
    return int((await api.ask(f"{room}/getaccount", address=holder, visible=True)).get("balance", 0))


async def test_solid_reads_see_solid_state_only(api: Api, alice: Hand, devnet: DevnetClient, usdt: str) -> None:
    receiver = fresh_address()
    await api.send(await alice.transfer(receiver, 7))
    sent = await api.send(await alice.send_token(usdt, receiver, 9))
    block = await devnet.mine()
    for behind in range(SOLID_LAG):
        assert (await devnet.status()).solid.number == block.number - SOLID_LAG + behind
        assert await coins(api, "wallet", receiver) == 7
        assert await coins(api, "walletsolidity", receiver) == 0
        assert await read_token(api, "wallet", usdt, receiver) == 9
        assert await read_token(api, "walletsolidity", usdt, receiver) == 0
        assert await api.ask("walletsolidity/gettransactioninfobyid", value=sent["txid"]) == {}
        assert await api.ask("walletsolidity/getblockbynum", num=block.number) == {}
        await devnet.mine()
    assert await coins(api, "walletsolidity", receiver) == 7
    assert await read_token(api, "walletsolidity", usdt, receiver) == 9
    assert (await api.ask("walletsolidity/gettransactioninfobyid", value=sent["txid"]))["blockNumber"] == block.number


async def test_a_fork_takes_transactions_back_and_they_return(
    api: Api, alice: Hand, devnet: DevnetClient, usdt: str
) -> None:
    receiver = fresh_address()
    await devnet.mine()
    sent = await api.send(await alice.send_token(usdt, receiver, 9))
    old = await devnet.mine()
    displaced = await devnet.fork(1)
    assert displaced == [sent["txid"]]
    status = await devnet.status()
    assert status.head.number == old.number
    assert status.head.id != old.id
    assert status.pending == (sent["txid"],)
    assert await api.ask("wallet/getblockbyid", value=old.id) == {}
    assert await api.ask("wallet/gettransactioninfobyid", value=sent["txid"]) == {}
    assert await devnet.balance(receiver, usdt) == 9, "the pool is applied to the head"
    again = await devnet.mine()
    assert (await api.ask("wallet/gettransactioninfobyid", value=sent["txid"]))["blockNumber"] == again.number


async def test_a_fork_may_drop_transactions_which_the_node_still_remembers(
    api: Api, alice: Hand, devnet: DevnetClient
) -> None:
    receiver = fresh_address()
    await devnet.mine()
    signed = await alice.transfer(receiver, 9)
    await api.send(signed)
    await devnet.mine()
    before = await devnet.balance(alice.address)
    await devnet.fork(1, drop=True)
    assert await devnet.balance(receiver) == 0
    assert await devnet.balance(alice.address) == before + 9 + 1_100_000, "fees come back too"
    assert (await api.send(signed))["code"] == "DUP_TRANSACTION_ERROR", "though it is nowhere"
    await devnet.forget_txids()
    assert (await api.send(signed))["result"] is True
    await devnet.mine()
    assert await devnet.balance(receiver) == 9


async def test_a_fork_of_a_contract_creation(api: Api, devnet: DevnetClient) -> None:
    await devnet.mine()
    contract, _ = await devnet.deploy_token("NEW")
    await devnet.mine()
    await devnet.fork(1, drop=True)
    assert await api.ask("wallet/getcontract", value=contract, visible=True) == {}
    second, _ = await devnet.deploy_token("NEW", supply=5)
    await devnet.solidify()
    assert await devnet.balance((await devnet.status()).faucet, second, solid=True) == 5


async def test_solid_blocks_cannot_be_forked(devnet: DevnetClient) -> None:
    await devnet.mine(10)
    with pytest.raises(DevnetError, match="above the solid block"):
        await devnet.fork(SOLID_LAG + 1)
    await devnet.fork(SOLID_LAG)


async def test_transactions_that_refer_to_a_replaced_block_are_lost(
    api: Api, alice: Hand, devnet: DevnetClient
) -> None:
    await devnet.mine()
    head = bytes.fromhex((await devnet.status()).head.id)
    signed = await alice.transfer(fresh_address(), 1, ref_block_bytes=head[6:8], ref_block_hash=head[8:16])
    assert (await api.send(signed))["result"]
    await devnet.fork(1)
    assert (await devnet.status()).pending == ()


async def test_a_stale_node_stands_still_and_keeps_transactions_to_itself(
    api: Api, alice: Hand, devnet: DevnetClient, usdt: str
) -> None:
    stale = Api(api._session, (await devnet.start_node("stale")).url)
    frozen = await devnet.freeze("stale")
    receiver = fresh_address()
    await api.send(await alice.send_token(usdt, receiver, 9))
    await devnet.solidify()
    for room in ("wallet", "walletsolidity"):
        assert await read_token(api, room, usdt, receiver) == 9
        assert await read_token(stale, room, usdt, receiver) == 0
    block = await stale.ask("wallet/getnowblock")
    assert block["block_header"]["raw_data"]["number"] == frozen.head
    unheard = await Hand(stale, alice.key).transfer(fresh_address(), 1)
    assert (await stale.send(unheard))["result"] is True
    assert (await devnet.status()).pending == ()
    await devnet.thaw("stale")
    assert await read_token(stale, "wallet", usdt, receiver) == 9


async def test_a_stale_node_keeps_the_abandoned_fork(api: Api, alice: Hand, devnet: DevnetClient, usdt: str) -> None:
    stale = Api(api._session, (await devnet.start_node("stale")).url)
    await devnet.mine()
    receiver = fresh_address()
    sent = await api.send(await alice.send_token(usdt, receiver, 9))
    old = await devnet.mine()
    await devnet.freeze("stale")
    await devnet.fork(1, drop=True)
    assert (await stale.ask("wallet/getblockbynum", num=old.number))["blockID"] == old.id
    assert await read_token(stale, "wallet", usdt, receiver) == 9
    assert (await stale.ask("wallet/gettransactioninfobyid", value=sent["txid"]))["blockNumber"] == old.number
    await devnet.thaw("stale")
    assert await read_token(stale, "wallet", usdt, receiver) == 0


async def test_a_lagging_node(api: Api, alice: Hand, devnet: DevnetClient, usdt: str) -> None:
    slow = Api(api._session, (await devnet.start_node("slow", lag=2)).url)
    receiver = fresh_address()
    await api.send(await alice.send_token(usdt, receiver, 9))
    block = await devnet.mine()
    assert await read_token(slow, "wallet", usdt, receiver) == 0
    assert await slow.ask("wallet/getblockbynum", num=block.number) == {}
    await devnet.mine(2)
    assert await read_token(slow, "wallet", usdt, receiver) == 9
    assert (await slow.ask("wallet/getblockbynum", num=block.number))["blockID"] == block.id
    forwarded = await Hand(slow, alice.key).transfer(fresh_address(), 1)
    assert (await slow.send(forwarded))["result"] is True
    assert len((await devnet.status()).pending) == 1, "what it is sent reaches the network"


async def test_held_and_dropped_transactions(api: Api, alice: Hand, devnet: DevnetClient) -> None:
    first, second = fresh_address(), fresh_address()
    kept = await api.send(await alice.transfer(first, 1))
    await devnet.hold([kept["txid"]])
    await api.send(await alice.transfer(second, 1))
    await devnet.mine()
    assert (await devnet.status()).pending == (kept["txid"],)
    assert await devnet.drop_pending() == 1
    await devnet.mine()
    payments = [payment.receiver for payment in await devnet.audit()]
    assert second in payments
    assert first not in payments


async def test_another_name_is_another_network(api: Api, devnet: DevnetClient) -> None:
    async with running(DevnetOptions(block_time=0, network="elsewhere")) as other:
        genesis = await Api(api._session, other.main.url).ask("wallet/getblockbynum", num=0)
    async with running(DevnetOptions(block_time=0, network="elsewhere")) as again:
        assert again.chain.blocks[0].id.hex() == genesis["blockID"]
    assert genesis["blockID"] != (await devnet.status()).genesis_id


async def test_the_clock_makes_blocks_until_it_is_stopped() -> None:
    async with running(DevnetOptions(block_time=0.01, solid_lag=2)) as network:
        await network.wait_for(4, solid=True)
        async with DevnetClient(network.main.url) as devnet:
            await devnet.pause()
            stopped = (await devnet.status()).head
            with pytest.raises(DevnetError, match="did not happen"):
                await devnet.wait_for_block(stopped.number + 1, timeout=0.05)
            await devnet.resume()
            later = await devnet.wait_for_block(stopped.number + 1)
            assert later.timestamp > stopped.timestamp


async def test_waiting_for_a_transaction(api: Api, alice: Hand, devnet: DevnetClient) -> None:
    sent = await api.send(await alice.transfer(fresh_address(), 1))
    block = await devnet.mine()
    assert await devnet.wait_for_transaction(sent["txid"]) == block
    with pytest.raises(DevnetError, match="did not happen"):
        await devnet.wait_for_transaction(sent["txid"], solid=True, timeout=0.01)
    await devnet.solidify()
    assert (await devnet.wait_for_transaction(sent["txid"], solid=True)).id == block.id


async def test_audit_lists_every_payment_once(api: Api, alice: Hand, devnet: DevnetClient, usdt: str) -> None:
    receiver = fresh_address()
    coin = await api.send(await alice.transfer(receiver, 3))
    token = await api.send(await alice.send_token(usdt, receiver, 4))
    failed = await api.send(await alice.send_token(usdt, receiver, 10**18))
    revoked = await api.send(await alice.call(usdt, selector("approve(address,uint256)") + word(receiver) + word(9)))
    unpayable = await api.send(await alice.call(usdt, selector("pause()"), call_value=5))
    block = await devnet.mine()
    paid = [payment for payment in await devnet.audit(since=block.number) if payment.sender == alice.address]
    assert [(p.txid, p.contract, p.receiver, p.amount, p.block) for p in paid] == [
        (coin["txid"], None, receiver, 3, block.number),
        (token["txid"], usdt, receiver, 4, block.number),
    ]
    assert {failed["txid"], revoked["txid"], unpayable["txid"]}.isdisjoint(p.txid for p in paid)
    assert await devnet.audit(since=block.number, solid=True) == []
