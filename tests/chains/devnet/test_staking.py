"""Coins locked up for bandwidth and energy, names of accounts, and other transactions that neither pay nor call."""

from typing import Any

import pytest

from pipeline.chains.tron.codec.address import to_bytes
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.messages import CONTRACTS
from tests.chains.devnet.hand import Api, Hand, fresh_address

TRX = 1_000_000
BANDWIDTH, ENERGY = range(2)
DAY = 24 * 3600


async def act(hand: Hand, api: Api, devnet: DevnetClient, kind: str, **fields: Any) -> dict[str, Any]:
    """Send a transaction of that kind by ``hand`` and make a block; what the node answered."""
    contract = CONTRACTS[kind](owner_address=to_bytes(hand.address), **fields)
    answer = await api.send(hand.sign(await hand.raw(kind, contract)))
    await devnet.mine()
    return answer


async def freeze(hand: Hand, api: Api, devnet: DevnetClient, sun: int, resource: int) -> dict[str, Any]:
    return await act(hand, api, devnet, "FreezeBalanceV2Contract", frozen_balance=sun, resource=resource)


async def unfreeze(hand: Hand, api: Api, devnet: DevnetClient, sun: int, resource: int) -> dict[str, Any]:
    return await act(hand, api, devnet, "UnfreezeBalanceV2Contract", unfreeze_balance=sun, resource=resource)


async def test_staked_coins_give_energy(alice: Hand, api: Api, devnet: DevnetClient, usdt: str) -> None:
    """As much as on the main network: 9.29 a coin and day."""
    assert (await freeze(alice, api, devnet, 900 * TRX, ENERGY))["result"]
    assert await devnet.balance(alice.address) == 100 * TRX
    resources = await api.ask("wallet/getaccountresource", address=alice.address, visible=True)
    assert resources["EnergyLimit"] == 900 * 180_000_000_000 // 19_365_209_178 == 8_365
    account = await api.ask("wallet/getaccount", address=alice.address, visible=True)
    assert account["frozenV2"] == [{}, {"type": "ENERGY", "amount": 900 * TRX}, {"type": "TRON_POWER"}]
    sent = await api.send(await alice.send_token(usdt, fresh_address(), 1))
    await devnet.mine()
    receipt = (await api.ask("wallet/gettransactioninfobyid", value=sent["txid"]))["receipt"]
    assert (receipt["energy_usage"], receipt["energy_fee"]) == (8_365, (28_654 - 8_365) * 100)


async def test_staked_coins_give_bandwidth_that_is_used_before_the_free_one(
    alice: Hand, api: Api, devnet: DevnetClient
) -> None:
    await freeze(alice, api, devnet, 900 * TRX, BANDWIDTH)
    free = (await api.ask("wallet/getaccountresource", address=alice.address, visible=True)).get("freeNetUsed", 0)
    limit = 900 * 43_200_000_000 // 26_982_826_755
    other = Hand(api)
    await devnet.faucet(other.address, 1)
    await devnet.mine()
    signed = await alice.transfer(other.address, 1)
    await api.send(signed)
    await devnet.mine()
    resources = await api.ask("wallet/getaccountresource", address=alice.address, visible=True)
    assert (resources["NetLimit"], resources["NetUsed"]) == (limit, len(signed) + 64)
    assert resources.get("freeNetUsed", 0) <= free


async def test_unfrozen_coins_come_back_after_a_fortnight(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    await freeze(alice, api, devnet, 900 * TRX, ENERGY)
    held = await devnet.balance(alice.address)
    assert (await unfreeze(alice, api, devnet, 500 * TRX, ENERGY))["result"]
    assert await devnet.balance(alice.address) == held
    early = await act(alice, api, devnet, "WithdrawExpireUnfreezeContract")
    assert early["message"] == "Contract validate error : no unFreeze balance to withdraw "
    counted = await api.ask("wallet/getavailableunfreezecount", owner_address=alice.address, visible=True)
    assert counted == {"count": 31}
    asked = {"owner_address": alice.address, "visible": True}
    assert await api.ask("wallet/getcanwithdrawunfreezeamount", **asked) == {}
    for _ in range(14):
        await devnet.advance(DAY)
        await devnet.mine()
    assert await api.ask("wallet/getcanwithdrawunfreezeamount", **asked) == {"amount": 500 * TRX}
    assert (await act(alice, api, devnet, "WithdrawExpireUnfreezeContract"))["result"]
    assert await devnet.balance(alice.address) == held + 500 * TRX
    account = await api.ask("wallet/getaccount", address=alice.address, visible=True)
    assert account["frozenV2"][1]["amount"] == 400 * TRX
    assert "unfrozenV2" not in account


@pytest.mark.parametrize(
    ("sun", "resource", "said"),
    [
        (0, ENERGY, "frozenBalance must be positive"),
        (TRX - 1, ENERGY, "frozenBalance must be greater than or equal to 1 TRX"),
        (10**15, ENERGY, "frozenBalance must be less than or equal to accountBalance"),
        (TRX, 2, "ResourceCode error, valid ResourceCode[BANDWIDTH、ENERGY]"),
    ],
)
async def test_stakes_that_validation_refuses(
    alice: Hand, api: Api, devnet: DevnetClient, sun: int, resource: int, said: str
) -> None:
    assert (await freeze(alice, api, devnet, sun, resource))["message"] == f"Contract validate error : {said}"


async def test_what_cannot_be_unfrozen(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    async def said(sun: int, resource: int) -> str:
        return str((await unfreeze(alice, api, devnet, sun, resource))["message"]).partition(" : ")[2]

    assert await said(TRX, ENERGY) == "no frozenBalance(Energy)"
    await freeze(alice, api, devnet, 5 * TRX, ENERGY)
    assert await said(6 * TRX, ENERGY) == f"Invalid unfreeze_balance, [{6 * TRX}] is error"
    assert await said(TRX, BANDWIDTH) == "no frozenBalance(BANDWIDTH)"
    old = await act(alice, api, devnet, "FreezeBalanceContract", frozen_balance=TRX, frozen_duration=3)
    assert old["message"].endswith("freeze v2 is open, old freeze is closed")


async def test_names_and_ids_of_accounts(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    assert (await act(alice, api, devnet, "AccountUpdateContract", account_name=b"Alice"))["result"]
    again = await act(alice, api, devnet, "AccountUpdateContract", account_name=b"Bob")
    assert again["message"].endswith("This account name is already existed")
    assert (
        "Invalid accountId" in (await act(alice, api, devnet, "SetAccountIdContract", account_id=b"short"))["message"]
    )
    assert (await act(alice, api, devnet, "SetAccountIdContract", account_id=b"alice-the-first"))["result"]
    twice = await act(alice, api, devnet, "SetAccountIdContract", account_id=b"alice-the-second")
    assert twice["message"].endswith("This account id already set")
    found = await api.ask("wallet/getaccountbyid", account_id=b"alice-the-first".hex())
    assert (found["address"], found["account_name"]) == (to_bytes(alice.address).hex(), b"Alice".hex())
    assert await api.ask("wallet/getaccountbyid", account_id=b"nobody at all".hex()) == {}


async def test_an_account_is_created_without_coins(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    new = fresh_address()
    before = await devnet.balance(alice.address)
    assert (await act(alice, api, devnet, "AccountCreateContract", account_address=to_bytes(new)))["result"]
    assert await devnet.balance(alice.address) == before - 1_100_000
    assert (await api.ask("wallet/getaccount", address=new, visible=True))["address"] == new
    again = await act(alice, api, devnet, "AccountCreateContract", account_address=to_bytes(new))
    assert again["message"].endswith("Account has existed")


async def test_an_abi_is_cleared_by_its_owner_alone(alice: Hand, api: Api, devnet: DevnetClient, usdt: str) -> None:
    foreign = await act(alice, api, devnet, "ClearABIContract", contract_address=to_bytes(usdt))
    assert foreign["message"].endswith("is not the owner of the contract")
    absent = await act(alice, api, devnet, "ClearABIContract", contract_address=to_bytes(fresh_address()))
    assert absent["message"].endswith("Contract not exists")
    assert (await api.ask("wallet/getcontract", value=usdt, visible=True))["abi"]["entrys"]


async def test_what_the_network_has_none_of(api: Api, usdt: str) -> None:
    for path in ("wallet/listproposals", "wallet/listexchanges", "walletsolidity/getassetissuelist"):
        assert await api.ask(path) == {}
    assert await api.ask("wallet/getReward", address=usdt) == {"reward": 0}
    assert await api.ask("wallet/getBrokerage", address=usdt) == {"brokerage": 20}
