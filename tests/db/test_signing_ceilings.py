"""What a host has signed away in a day counts what may leave, and not what the database refused to keep."""

from dataclasses import replace

from pipeline.chains.kinds import Kind
from pipeline.chains.values import Asset, Payment
from pipeline.queue.jobs import Defer, JobType, Parked
from pipeline.signing.rules import GAS_WALLET, WALLETS, SigningRules, ceiling_of
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.db.test_transfers_evm_stuck import stuck
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


def spent(desk: Desk | EvmDesk, whose: str) -> int:
    """Native raw units."""
    rules = desk.sender.rules
    return rules._ledger.spent(ceiling_of(rules.policy, whose).of)


async def nearly_free_until_now(world: World, kind: Kind) -> None:
    """Ten payments of this hour cost one raw unit each: those that cost more than a 200th of fee_max wait."""
    await world.connection.execute("UPDATE chains SET fee_rise_max = 2")
    await world.connection.execute(
        "INSERT INTO fees_paid (chain_id, kind, hour, payments, fees, highest)"
        " VALUES (%s, %s, date_trunc('hour', now(), 'UTC'), 10, 10, 1)",
        [world.chain_id, kind],
    )


async def due(world: World | EvmWorld) -> None:
    await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'pending'")


async def test_on_tron_what_is_refused_again_and_again_counts_nothing(world: World, desk: Desk, ready: Wallet) -> None:
    await desk.settlement.round()
    assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]
    (first,) = await world.attempts()
    before = spent(desk, WALLETS)
    assert before >= int(first["fee_cap"])
    await world.connection.execute("UPDATE chains SET fee_max = %s", [2 * int(first["fee_cap"])])
    await nearly_free_until_now(world, Kind.CONSOLIDATION)
    other = await world.wallet(usdt=250 * USDT, trx=50 * TRX)
    await world.devnet.solidify()
    await world.flag(other, consolidation=True)
    for _ in range(3):
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Defer), outcome
        assert "fee_rise_max" in outcome.reason
        assert spent(desk, WALLETS) == before
        await due(world)
    await world.connection.execute("UPDATE chains SET fee_rise_max = 400")
    assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]
    assert before < spent(desk, WALLETS)


async def test_on_evm_what_is_refused_again_and_again_counts_nothing(
    evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
) -> None:
    await evm.connection.execute("UPDATE chains SET fee_rise_max = 2")
    await evm.connection.execute(
        "INSERT INTO fees_paid (chain_id, kind, hour, payments, fees, highest)"
        " VALUES (%s, 'gas', date_trunc('hour', now(), 'UTC'), 10, 10, 1)",
        [evm.chain_id],
    )
    coin = Asset("BNB", 18)
    topup = Payment(evm.gas_address, thirsty_evm.address, coin, FINNEY)
    estimate = await evm_desk.real_provider.estimate(topup)
    await evm.connection.execute("UPDATE chains SET fee_max = %s", [10 * estimate.fee])
    for _ in range(3):
        ((_, outcome),) = await evm_desk.run(GAS)
        assert isinstance(outcome, Defer), outcome
        assert "fee_rise_max" in outcome.reason
        assert spent(evm_desk, GAS_WALLET) == 0
        await due(evm)
    await evm.connection.execute("UPDATE chains SET fee_rise_max = 400")
    assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
    assert FINNEY <= spent(evm_desk, GAS_WALLET) < 20 * FINNEY


async def test_a_replacement_that_is_refused_counts_nothing(
    evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
) -> None:
    await stuck(evm, evm_desk)
    before = spent(evm_desk, GAS_WALLET)
    await evm.connection.execute("UPDATE gas_spending SET amount = amount + 10^25")
    assert await evm_desk.replacements().round() == 0
    assert "gas_max_per_day" in (await evm.transfers())[0]["error_message"]
    assert spent(evm_desk, GAS_WALLET) == before
    await evm.connection.execute("UPDATE gas_spending SET amount = amount - 10^25")
    await evm.connection.execute("UPDATE transfers SET replace_wanted_at = now()")
    assert await evm_desk.replacements().round() == 1
    assert before < spent(evm_desk, GAS_WALLET)


async def test_an_offer_stays_below_what_this_host_may_sign(
    evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
) -> None:
    """The network asks for more than the policy allows: it is offered what that allows, and not refused for ever."""
    await stuck(evm, evm_desk)
    (first,) = await evm.attempts()
    rules = evm_desk.sender.rules
    little = replace(rules.policy, fee_max=int(first["fee_cap"]) * 12 // 10)
    evm_desk.may_sign(SigningRules(little, rules._ledger))
    assert await evm_desk.replacements().round() == 1
    _, second = await evm.attempts()
    assert int(first["fee_cap"]) < int(second["fee_cap"]) <= little.fee_max
