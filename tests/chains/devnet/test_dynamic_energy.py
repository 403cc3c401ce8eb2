"""A busy contract's energy costs more, from one maintenance period to the next."""

import pytest

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.dynamic_energy import ContractState, caught_up
from pipeline.devnet.params import BlockEnv, Params
from tests.chains.devnet.hand import Api, Hand, fresh_address

PERIOD = Params().maintenance_interval


def env(period: int, params: Params) -> BlockEnv:
    return BlockEnv(1, period * PERIOD + 5, params)


@pytest.mark.parametrize(
    ("periods", "threshold", "increase", "most", "factor"),
    [
        (0, 2_000_000, 2_000, 1_000, 5_000),
        (10, 900_000, 1_000, 10_000, 3_137),
        (1, 2_000_000, 2_000, 10_000, 4_250),
        (1, 1_000_000, 2_000, 10_000, 4_250),
        (1, 900_000, 2_000, 10_000, 8_000),
        (1, 900_000, 5_000, 10_000, 10_000),
        (2, 900_000, 5_000, 10_000, 7_500),
        (3, 900_000, 5_000, 10_000, 5_312),
        (4, 900_000, 5_000, 10_000, 3_398),
        (5, 900_000, 5_000, 10_000, 1_723),
    ],
)
def test_a_factor_rises_and_falls_as_in_java_trons_own_test(
    periods: int, threshold: int, increase: int, most: int, factor: int
) -> None:
    """The steps of its ContractStateCapsuleTest.testCatchUpCycle."""
    params = Params(dynamic_energy_threshold=threshold, dynamic_energy_increase=increase, dynamic_energy_max=most)
    state = caught_up(ContractState(1_000, 1_000_000, 5_000), env(1_000 + periods, params))
    assert state == ContractState(1_000 + periods, 0 if periods else 1_000_000, factor)


def test_a_contract_nobody_called_has_none() -> None:
    assert caught_up(None, env(7, Params())) == ContractState(7)
    assert caught_up(None, env(7, Params(energy_factor=500))).factor == 500, "unless all have"


async def info(api: Api, contract: str) -> dict[str, int]:
    found = (await api.ask("wallet/getcontractinfo", value=contract, visible=True))["contract_state"]
    assert isinstance(found, dict)
    return found


async def test_on_the_chain(alice: Hand, api: Api, devnet: DevnetClient, usdt: str) -> None:
    """Usage is counted without penalties and by contract; the period after it costs a fifth more."""
    await devnet.set_params(dynamic_energy_threshold=20_000, maintenance_interval=600_000)
    parameters = {
        one["key"]: one.get("value") for one in (await api.ask("wallet/getchainparameters"))["chainParameter"]
    }
    assert parameters["getAllowDynamicEnergy"] == 1
    assert parameters["getDynamicEnergyThreshold"] == 20_000
    assert parameters["getDynamicEnergyIncreaseFactor"] == 2_000
    assert parameters["getDynamicEnergyMaxFactor"] == 34_000
    assert parameters["getMaintenanceTimeInterval"] == 600_000
    await _next_period(api, devnet)
    await _sent(api, devnet, await alice.send_token(usdt, fresh_address(), 1))
    found = await info(api, usdt)
    assert found["energy_usage"] == 28_654
    assert "energy_factor" not in found
    await _next_period(api, devnet)
    assert (await info(api, usdt)) == {"energy_factor": 2_000, "update_cycle": found["update_cycle"] + 1}
    receipt = await _sent(api, devnet, await alice.send_token(usdt, fresh_address(), 1))
    assert receipt["energy_penalty_total"] == 28_654 * 2_000 // 10_000
    assert receipt["energy_usage_total"] == 28_654 + receipt["energy_penalty_total"]
    assert (await info(api, usdt))["energy_usage"] == 28_654, "penalties are no usage"


async def test_a_failed_call_counts_as_no_usage_and_a_fork_takes_usage_back(
    alice: Hand, api: Api, devnet: DevnetClient, usdt: str
) -> None:
    await devnet.mine()
    before = (await info(api, usdt)).get("energy_usage", 0)
    await _sent(api, devnet, await alice.send_token(usdt, fresh_address(), 10**15))
    assert (await info(api, usdt)).get("energy_usage", 0) == before
    await _sent(api, devnet, await alice.send_token(usdt, fresh_address(), 1))
    assert (await info(api, usdt))["energy_usage"] == before + 28_654
    await devnet.fork(1, drop=True)
    assert (await info(api, usdt)).get("energy_usage", 0) == before


async def _next_period(api: Api, devnet: DevnetClient) -> None:
    """Two seconds into it."""
    begins = (await api.ask("wallet/getnextmaintenancetime"))["num"]
    await devnet.advance((begins - (await devnet.status()).now_ms) / 1000 + 2)
    await devnet.mine()


async def _sent(api: Api, devnet: DevnetClient, signed: bytes) -> dict[str, int]:
    answer = await api.send(signed)
    assert answer["result"], answer
    await devnet.mine()
    found = await api.ask("wallet/gettransactioninfobyid", value=answer["txid"])
    receipt = found["receipt"]
    assert isinstance(receipt, dict)
    return receipt
