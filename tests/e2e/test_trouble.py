"""What goes wrong around the pipeline: the database goes away in the middle, the gas wallet is empty."""

import asyncio
import re

import pytest
from psycopg import AsyncConnection

from pipeline.local.procfile import Phase
from pipeline.local.stand import open_stand
from pipeline.local.tron import TRX
from tests.e2e.conftest import BLOCK_TIME, environment, terms
from tests.e2e.running import flagpost
from tests.e2e.test_psql import answer
from tests.patience import PATIENCE

USDT = 1_000_000
AWAY_SECONDS = 30.0
LINES_OF_AN_OUTAGE = 20
"""Warnings of one process at the most: what is said once every few seconds is read."""


async def received(stand) -> int:
    return await stand.client.balance(stand.seeded.treasury, stand.seeded.token, solid=True)


async def until_received(stand, raw: int) -> None:
    """Block by block, until the treasury holds ``raw``: the chain is the signal."""
    async with asyncio.timeout(PATIENCE):
        while await received(stand) < raw:
            stand.fleet.check()
            await stand.client.wait_for_block((await stand.client.status()).head.number + 1)
    assert await received(stand) == raw


async def test_the_database_dies_in_the_middle_and_every_deposit_arrives_once(home):
    async with open_stand(home, terms(wallets=4), block_time=BLOCK_TIME, solid_lag=1) as stand:
        await stand.start_workers()
        before, meanwhile = stand.seeded.customers[:2], stand.seeded.customers[2:]
        for wallet in before:
            await stand.client.send_token(stand.seeded.token, wallet, 300 * USDT)
        async with await AsyncConnection.connect(stand.dsn, autocommit=True) as connection:
            await answer(connection, "SELECT 1 FROM worker_registry WHERE status = 'running' HAVING count(*) = 5")
            await answer(connection, "SELECT 1 FROM transfers WHERE state IN ('broadcasting', 'included')")
        line = await stand.fleet.kill("db")
        for wallet in meanwhile:
            await stand.client.send_token(stand.seeded.token, wallet, 300 * USDT)
        # Not a wait for anything: this is how long it is away.
        await asyncio.sleep(AWAY_SECONDS)
        stand.fleet.check()
        workers = set(stand.fleet.pids) - {"tron"}
        await stand.fleet.start([line])
        await until_received(stand, 4 * 300 * USDT)
        await stand.fleet.stop(Phase.WORK)
        customers = sorted(stand.seeded.customers)
        payments = await stand.client.audit()
        assert sorted(p.sender for p in payments if p.receiver == stand.seeded.treasury) == customers
        assert sorted(p.receiver for p in payments if p.sender == stand.seeded.gas) == customers
    assert len(workers) == 5
    for name in workers:
        said = (home / "logs" / f"{name}.log").read_text()
        assert re.search("WARNING LISTEN connection lost, connecting again: .*server", said), said
        assert re.search(r"INFO +LISTEN connection is back after \d\d", said), said
        assert len(re.findall(" WARNING ", said)) <= LINES_OF_AN_OUTAGE, said
        assert not re.search("ERROR|Traceback", said), said


@pytest.mark.parametrize("policy", ["threshold", "on_demand"])
async def test_with_an_empty_gas_wallet_jobs_wait_say_so_and_go_on(home, server_dsn, policy):
    poor = terms(wallets=2, gas_policy=policy, gas_funds={})
    async with open_stand(home, poor, server=server_dsn, block_time=BLOCK_TIME, solid_lag=1) as stand:
        await stand.start_workers()
        wallet = stand.seeded.customers[0]
        await stand.client.send_token(stand.seeded.token, wallet, 500 * USDT)
        async with await AsyncConnection.connect(stand.dsn, autocommit=True) as connection:
            row = await answer(
                connection,
                "SELECT error_message, retry_count, job_id FROM job_logs WHERE job_type = 'gas-topup'"
                " AND wallet_address = %s AND status IN ('pending', 'retrying') AND error_message IS NOT NULL",
                wallet,
            )
            message, retries, job = row
            assert stand.seeded.gas in message
            assert "TRX" in message
            assert retries == 0
            doctor = flagpost(["doctor"], environment(stand))
            assert doctor.returncode == 1
            assert f"gas wallet {stand.seeded.gas} is empty" in doctor.stdout

            await stand.client.faucet(stand.seeded.gas, 1_000 * TRX)
            await stand.client.solidify()
            # It would go on by itself within 30 s; a person who has just funded it need not wait that long.
            await connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")
            await answer(connection, "SELECT 1 FROM job_logs WHERE job_id = %s AND status = 'completed'", job)
        await until_received(stand, 500 * USDT)
