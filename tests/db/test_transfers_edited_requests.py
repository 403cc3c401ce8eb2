"""A signing request that cannot be read, or that the database refuses to keep, holds up its own payment alone."""

import pytest

from pipeline.chains.kinds import Kind
from pipeline.queue.jobs import Defer, JobType, Parked
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.db.paying_kit import leave_asked, requests, states
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION

EDITS = {
    "nothing in it": "'{}'",
    "a name too many": "parameters || '{\"more\": 1}'",
    "no number": 'parameters || \'{"fee_limit": "much"}\'',
    "no time": "jsonb_set(parameters, '{expiration}', '\"soon\"')",
}


async def edit(world: World, parameters: str) -> None:
    """As the owner at psql can, past every trigger; what was asked for is older than a signature takes."""
    await world.connection.execute(
        f"""
        SET session_replication_role = replica;
        UPDATE signing_requests SET parameters = {parameters}, created_at = now() - interval '1 minute';
        RESET session_replication_role
        """  # noqa: S608
    )


async def ask_gas(world: World, wallet: Wallet) -> None:
    """A job by hand, which is claimed in one batch with those that are due."""
    await world.flag(wallet, gas=True)
    await world.connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES (%s, 'gas-topup', 'pending', %s)",
        [wallet.address, wallet.address],
    )


@pytest.fixture
async def asked(world: World, desk: Desk) -> Wallet:
    """A wallet whose gas was asked for, and whose worker died before it was signed."""
    first = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.flag(first, gas=True)
    await leave_asked(world, desk)
    return first


@pytest.mark.parametrize("name", EDITS)
async def test_other_payments_go_on(world: World, desk: Desk, asked: Wallet, name: str) -> None:
    await edit(world, EDITS[name])
    other = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    retries = (await world.row("SELECT retry_count FROM job_logs"))["retry_count"]
    await ask_gas(world, other)
    outcomes = {job.wallet_address: outcome for job, outcome in await desk.run(GAS)}
    assert outcomes[other.address] == Parked()
    waiting = outcomes[asked.address]
    assert isinstance(waiting, Defer)
    assert "cannot be read" in waiting.reason
    row = await world.row("SELECT retry_count, status FROM job_logs WHERE wallet_address = %s", asked.address)
    assert row == {"retry_count": retries, "status": "pending"}, "no retry is used up"
    assert (await states(world))[1] == ["requested", "broadcasting"], "nor is what may be signed given up"
    assert await desk.replacements().round() == 0


async def test_a_sender_pays_nothing_behind_it_and_no_retry_is_used_up(
    evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
) -> None:
    """Its nonce is reserved, and whoever pays next could not fill it."""
    await leave_asked(evm, evm_desk)
    await edit(evm, "'{}'")
    other = await evm.wallet(usdt=250 * USDT)
    await evm.network.finalize()
    await ask_gas(evm, other)
    outcomes = [outcome for _, outcome in await evm_desk.run(GAS)]
    assert [type(outcome) for outcome in outcomes] == [Defer, Defer]
    assert await evm_desk.replacements().round() == 0
    assert (await states(evm))[1:] == (["requested"], [])


async def test_one_that_the_database_refuses_to_keep_stops_no_other(world: World, desk: Desk) -> None:
    """Two workers died, and the first request that they left can never be kept."""
    for _ in range(2):
        wallet = await world.wallet(usdt=250 * USDT, trx=60 * TRX)
        await world.devnet.solidify()
        await world.flag(wallet, consolidation=True)
        await leave_asked(world, desk, job_type=CONSOLIDATION)
        await world.connection.execute("UPDATE job_logs SET run_at = now() + interval '1 hour'")
    await edit(world, "parameters")
    await world.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'never this one' USING ERRCODE = 'FP003'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON chain_transactions FOR EACH ROW"
        " WHEN (NEW.sender = '" + min(one.address for one in world.wallets) + "') EXECUTE FUNCTION refuse()"
    )
    sent, later = await desk.sender.signatures.finish_open(world.chain_id, (Kind.CONSOLIDATION,))
    assert (sent, later) == (1, [])
    assert sorted(await requests(world)) == ["asked", "signed"]
