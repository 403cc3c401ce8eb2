"""What a payment on EVM waits for without using up an attempt: coins in the gas wallet, a gas price under the cap."""

from pipeline.payments.send.fee_alarm import LONGEST_SECONDS, FeeAlarm
from pipeline.queue.jobs import Defer, JobType, Parked
from tests.chaos.evm_world import FEES, FINNEY, EvmDesk, EvmWorld

GAS = JobType.GAS_TOPUP
GAS_OF_A_PAYMENT = 21_000


async def waiting(evm: EvmWorld) -> list[tuple[str, int]]:
    """Status and used attempts of the jobs that wait, which are due from now on."""
    rows = await evm.rows("SELECT status, retry_count FROM job_logs WHERE status IN ('pending', 'retrying')")
    await evm.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")
    return [(row["status"], row["retry_count"]) for row in rows]


async def test_a_gas_wallet_that_runs_empty_in_the_middle_of_a_batch(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    wallets = [await evm.wallet() for _ in range(5)]
    highest = FINNEY + GAS_OF_A_PAYMENT * FEES["cap"]
    await evm.network.node.call("anvil_setBalance", evm.gas_address, hex(3 * highest))
    await evm.network.finalize()
    await evm.connection.execute("UPDATE wallets SET needs_gas = true")

    outcomes = [outcome for _, outcome in await evm_desk.run(GAS)]
    assert outcomes.count(Parked()) == 3
    for outcome in outcomes:
        if isinstance(outcome, Defer):
            assert f"gas wallet {evm.gas_address} has " in outcome.reason
            assert "send BNB to it" in outcome.reason
    await evm_desk.settle()
    assert len(await evm.paid_gas()) == 3
    assert await evm.nonces() == [(nonce, "used") for nonce in range(3)], "none was reserved for what could not be paid"
    assert await waiting(evm) == [("pending", 0)] * 2

    await evm.network.node.call("anvil_setBalance", evm.gas_address, hex(10 * highest))
    await evm.network.finalize()
    assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()] * 2
    await evm_desk.settle()
    assert sorted(one.receiver for one in await evm.paid_gas()) == sorted(wallet.address for wallet in wallets)
    assert {row["status"] for row in await evm.jobs()} == {"completed"}


async def test_gas_above_the_cap_is_waited_for(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    await evm.wallet()
    await evm.network.finalize()
    await evm.connection.execute("UPDATE wallets SET needs_gas = true")
    await evm.price(5 * FEES["cap"])
    told: list[str] = []
    times = iter((0.0, LONGEST_SECONDS))
    evm_desk.sender.fee_alarm = FeeAlarm(told.append, lambda: next(times))

    ((_, outcome),) = await evm_desk.run(GAS)
    assert isinstance(outcome, Defer)
    assert "the base fee on bsc is 0.005 gwei, the cap is 0.001" in outcome.reason
    assert "payments wait until it falls or the cap is raised" in outcome.reason
    assert await evm.attempts() == []
    assert await evm.nonces() == []
    assert await waiting(evm) == [("pending", 0)]
    assert told == []
    await evm.price(5 * FEES["cap"])
    await evm_desk.run(GAS)
    (alarm,) = told
    assert "bsc: nothing has been paid for 60 min" in alarm, "an hour later somebody hears of it"
    assert await waiting(evm) == [("pending", 0)]

    await evm.price(7)
    assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
    await evm_desk.settle()
    assert len(await evm.paid_gas()) == 1
