"""Bandwidth, activation, energy: what each transaction costs, to the sun."""

import pytest

from pipeline.chains.tron.codec.address import from_bytes, to_bytes
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.messages import RawData
from tests.chains.devnet.hand import Api, Hand, fresh_address, selector, word


async def info(api: Api, devnet: DevnetClient, signed: bytes) -> dict[str, object]:
    answer = await api.send(signed)
    assert answer["result"], answer
    await devnet.mine()
    found = await api.ask("wallet/gettransactioninfobyid", value=answer["txid"])
    assert isinstance(found, dict)
    return found


async def test_activation_costs_one_trx_and_a_tenth(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    receiver = fresh_address()
    done = await info(api, devnet, await alice.transfer(receiver, 7))
    assert (done["fee"], done["receipt"]) == (1_100_000, {"net_fee": 100_000})
    assert await devnet.balance(receiver) == 7
    assert await devnet.balance(alice.address) == 1_000_000_000 - 7 - 1_100_000


async def test_free_bandwidth_is_all_or_nothing_and_recovers(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    receiver = Hand(api)
    await devnet.faucet(receiver.address, 1)
    await devnet.mine()
    signed = await alice.transfer(receiver.address, 1)
    size = len(signed) + 64
    done = await info(api, devnet, signed)
    assert done["receipt"] == {"net_usage": size}
    assert "fee" not in done
    await info(api, devnet, await alice.transfer(receiver.address, 2))
    paid = await info(api, devnet, await alice.transfer(receiver.address, 3))
    assert paid["receipt"] == {"net_fee": size * 1000}, "60 bytes were left: all of it is paid"
    await devnet.advance(24 * 3600)
    await devnet.mine()
    assert (await info(api, devnet, await alice.transfer(receiver.address, 4)))["receipt"] == {"net_usage": size}


async def test_a_memo_costs_one_trx(alice: Hand, api: Api, devnet: DevnetClient, usdt: str) -> None:
    receiver = Hand(api)
    await devnet.faucet(receiver.address, 1)
    await devnet.mine()
    assert (await info(api, devnet, await alice.transfer(receiver.address, 1, data=b"note")))["fee"] == 1_000_000


async def test_energy_is_burned_at_the_price_of_the_block(
    alice: Hand, api: Api, devnet: DevnetClient, usdt: str
) -> None:
    await devnet.set_params(energy_fee=420)
    receiver = fresh_address()
    done = await info(api, devnet, await alice.send_token(usdt, receiver, 1))
    assert done["receipt"] == {
        "energy_fee": 28_654 * 420,
        "energy_usage_total": 28_654,
        "net_usage": 345,
        "result": "SUCCESS",
    }
    again = await info(api, devnet, await alice.send_token(usdt, receiver, 1))
    assert again["receipt"]["energy_usage_total"] == 13_654, "15,000 less for a slot that is set"  # type: ignore[index]


async def test_dynamic_energy_multiplies_what_a_call_uses(
    alice: Hand, api: Api, devnet: DevnetClient, usdt: str
) -> None:
    await devnet.set_params(energy_factor=34_000)
    done = await info(api, devnet, await alice.send_token(usdt, fresh_address(), 1))
    penalty = 28_654 * 34_000 // 10_000
    assert done["receipt"]["energy_penalty_total"] == penalty  # type: ignore[index]
    assert done["receipt"]["energy_usage_total"] == 28_654 + penalty  # type: ignore[index]
    simulated = await simulate(api, alice, usdt)
    assert simulated["energy_used"] == 28_654 + penalty
    assert simulated["energy_penalty"] == penalty


async def simulate(api: Api, hand: Hand, contract: str) -> dict[str, object]:
    answer = await api.ask(
        "wallet/triggerconstantcontract",
        owner_address=hand.address,
        contract_address=contract,
        function_selector="transfer(address,uint256)",
        parameter=(word(fresh_address()) + word(1)).hex(),
        visible=True,
    )
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("factor", [0, 34_000])
async def test_fee_limit_is_a_hard_cap(alice: Hand, api: Api, devnet: DevnetClient, usdt: str, factor: int) -> None:
    """One energy too few: all of the limit is spent and nothing is moved; exactly enough succeeds."""
    await devnet.set_params(energy_factor=factor)
    receiver = fresh_address()
    energy = (await simulate(api, alice, usdt))["energy_used"]
    assert isinstance(energy, int)
    short = await info(api, devnet, await alice.send_token(usdt, receiver, 1, fee_limit=(energy - 1) * 100))
    assert short["receipt"]["result"] == "OUT_OF_ENERGY"  # type: ignore[index]
    assert short["receipt"]["energy_fee"] == (energy - 1) * 100  # type: ignore[index]
    assert short["result"] == "FAILED"
    assert "log" not in short
    assert await devnet.balance(receiver, usdt) == 0
    enough = await info(api, devnet, await alice.send_token(usdt, receiver, 1, fee_limit=energy * 100))
    assert enough["receipt"]["result"] == "SUCCESS"  # type: ignore[index]
    assert await devnet.balance(receiver, usdt) == 1


async def test_a_revert_spends_what_it_used(alice: Hand, api: Api, devnet: DevnetClient, usdt: str) -> None:
    done = await info(api, devnet, await alice.send_token(usdt, fresh_address(), 10**18))
    receipt = done["receipt"]
    assert receipt["result"] == "REVERT"  # type: ignore[index]
    assert 0 < receipt["energy_usage_total"] < 10_000  # type: ignore[index]
    assert bytes.fromhex(done["resMessage"]) == b"REVERT opcode executed"  # type: ignore[arg-type]
    assert selector("Error(string)").hex() == done["contractResult"][0][:8]  # type: ignore[index]


async def test_the_balance_caps_energy_too(api: Api, devnet: DevnetClient, usdt: str) -> None:
    poor = Hand(api)
    await devnet.faucet(poor.address, 1_000_000)
    await devnet.mine()
    await devnet.send_token(usdt, poor.address, 5)
    await devnet.solidify()
    done = await info(api, devnet, await poor.send_token(usdt, fresh_address(), 5))
    assert done["receipt"]["result"] == "OUT_OF_ENERGY"  # type: ignore[index]
    assert done["fee"] == 1_000_000, "everything it had"
    assert await devnet.balance(poor.address) == 0


async def test_own_energy_is_used_first_and_counts_against_the_limit(
    alice: Hand, api: Api, devnet: DevnetClient, usdt: str
) -> None:
    await devnet.set_params(account_energy=20_000)
    done = await info(api, devnet, await alice.send_token(usdt, fresh_address(), 1))
    assert done["receipt"]["energy_usage"] == 20_000  # type: ignore[index]
    assert done["receipt"]["energy_fee"] == 8_654 * 100  # type: ignore[index]
    capped = await info(api, devnet, await alice.send_token(usdt, fresh_address(), 1, fee_limit=1_000_000))
    assert capped["receipt"]["result"] == "OUT_OF_ENERGY"  # type: ignore[index]


async def test_paused_and_blacklisted_tokens_revert(alice: Hand, api: Api, devnet: DevnetClient, usdt: str) -> None:
    await devnet.call(usdt, "pause()")
    await devnet.mine()
    done = await info(api, devnet, await alice.send_token(usdt, fresh_address(), 1))
    assert b"token is paused" in bytes.fromhex(done["contractResult"][0])  # type: ignore[index]
    await devnet.call(usdt, "unpause()")
    await devnet.call(usdt, "addBlackList(address)", alice.address)
    await devnet.mine()
    done = await info(api, devnet, await alice.send_token(usdt, fresh_address(), 1))
    assert b"sender is blacklisted" in bytes.fromhex(done["contractResult"][0])  # type: ignore[index]


async def test_there_are_no_refunds(alice: Hand, api: Api, devnet: DevnetClient, usdt: str) -> None:
    """Sending all one holds clears a slot, which the EVM would reward."""
    receiver = fresh_address()
    await info(api, devnet, await alice.send_token(usdt, receiver, 1))
    done = await info(api, devnet, await alice.send_token(usdt, receiver, 999_999_999))
    assert done["receipt"]["energy_usage_total"] >= 13_654  # type: ignore[index]
    assert await devnet.balance(alice.address, usdt) == 0


async def test_trx_sent_into_and_out_of_contracts(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    """A contract that passes on what it is paid: balances move, and the receiver's account begins to exist."""
    receiver = to_bytes(fresh_address())
    # CALL(gas, receiver, callvalue) with empty data, then STOP; deployed by copying these bytes
    runtime = bytes.fromhex("6000600060006000") + b"\x34\x73" + receiver[1:] + bytes.fromhex("5af15000")
    create = b"\x60" + bytes([len(runtime)]) + bytes.fromhex("600c60003960") + bytes([len(runtime)])
    code = create + bytes.fromhex("6000f3") + runtime
    built = await api.ask(
        "wallet/deploycontract",
        owner_address=to_bytes(alice.address).hex(),
        bytecode=code.hex(),
        abi=[],
        name="Pass",
        fee_limit=1_000_000_000,
        consume_user_resource_percent=100,
        origin_energy_limit=1,
    )
    raw = RawData.FromString(bytes.fromhex(built["raw_data_hex"]))
    deployed = await info(api, devnet, alice.sign(raw))
    assert deployed["receipt"]["result"] == "SUCCESS"  # type: ignore[index]
    contract = from_bytes(bytes.fromhex(built["contract_address"]))
    done = await info(api, devnet, await alice.call(contract, b"", call_value=5_000_000))
    assert done["receipt"]["result"] == "SUCCESS"  # type: ignore[index]
    assert await devnet.balance(from_bytes(receiver)) == 5_000_000
    assert await devnet.balance(contract) == 0
    account = await api.ask("wallet/getaccount", address=receiver.hex())
    assert account["balance"] == 5_000_000
