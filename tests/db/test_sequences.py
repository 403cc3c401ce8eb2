"""Sequences behind the rows they number, as logical replication and partial restores leave them: nothing is lost,
nobody ends, and they are moved past their rows."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from psycopg import AsyncConnection, sql

from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection
from pipeline.db.sequences import _DRAWN
from pipeline.queue.jobs import Defer, JobType, Parked, TriggeredBy
from pipeline.queue.schedule import Scan
from pipeline.workers.sweep import Sweep
from tests.chaos.world import Desk, World
from tests.db.test_sweep import Cycles, often
from tests.db.worker_kit import Script, executor, flag, queue_of, rows, running, statuses
from tests.logs import logged
from tests.seed import USDT, Chain, Wallet, add_wallets, seed_tron
from tests.servers import Server

GAS = JobType.GAS_TOPUP
FAR = """
INSERT INTO chains (id, name, network_id, is_active, family, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
                    gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, fee_max)
OVERRIDING SYSTEM VALUE
SELECT 50000000, 'far', repeat('0', 64), false, family, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
       gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, fee_max
FROM chains WHERE id = %s
"""


async def set_back(connection: Connection, *sequences: str, to: int = 1) -> None:
    for name in sequences:
        await connection.execute("SELECT setval(%s, %s)", [name, to])


async def add_chains(connection: Connection, like: Chain, count: int) -> None:
    """Rows with ids of a sequence."""
    await connection.execute(
        """
        INSERT INTO chains (name, network_id, is_active, family, gas_flag_below, gas_execute_below, gas_amount,
                            fee_reserve, gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, fee_max)
        SELECT 'c' || drawn.id, drawn.id, false, c.family, c.gas_flag_below, c.gas_execute_below, c.gas_amount,
               c.fee_reserve, c.gas_max_per_topup, c.gas_max_per_wallet_day, c.gas_max_per_day, c.fee_max
        FROM chains c, LATERAL (
            SELECT repeat('0', 16) || replace(gen_random_uuid()::text || c.id, '-', '') || 'aaaaaaaaaaaaaaaa' AS id
            FROM generate_series(1, %s)
        ) drawn
        WHERE c.id = %s
        """,
        [count, like.id],
    )


async def used(connection: Connection, chain: Chain, count: int) -> Sequence[Wallet]:
    """Wallets, each with a job that has ended, named as the queue names them; and as many chains."""
    await add_chains(connection, chain, count)
    wallets = await add_wallets(connection, chain, count)
    for wallet in wallets:
        await connection.execute(
            "WITH drawn AS (SELECT nextval('job_logs_seq') AS seq)"
            " INSERT INTO job_logs (seq, job_id, job_type, status, wallet_address)"
            " SELECT seq, 'gas-topup-' || seq, 'gas-topup', 'completed', %s FROM drawn",
            [wallet.address],
        )
    return wallets


async def behind(connection: Connection) -> dict[str, int]:
    """By how much, by sequence."""
    found = await rows(connection, "SELECT * FROM sequences_behind()")
    return {row["sequence_name"]: row["highest"] - row["last_drawn"] for row in found}


async def test_every_sequence_of_the_schema_is_watched(connection: Connection) -> None:
    """One that a later migration brings is to be named in sql/functions/sequences.sql and pipeline/db/sequences.py."""
    there = await rows(
        connection,
        "SELECT c.relname AS name FROM pg_class c WHERE c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace",
    )
    (source,) = await rows(connection, "SELECT prosrc FROM pg_proc WHERE proname = 'sequences_behind'")
    tables = [row["name"].removesuffix("_seq").removesuffix("_id") for row in there]
    assert [table for table in tables if f"'{table}'" not in source["prosrc"]] == []
    assert [table for table in tables if table != "job_logs" and not _DRAWN.match(f"{table}_pkey")] == []


async def test_nothing_is_behind_in_order(connection: Connection, tron: Chain) -> None:
    await used(connection, tron, 3)
    assert await behind(connection) == {}
    assert await rows(connection, "SELECT * FROM advance_sequences()") == []


async def test_sequences_are_moved_past_their_rows_and_never_back(connection: Connection, tron: Chain) -> None:
    await used(connection, tron, 5)
    await set_back(connection, "job_logs_seq", "chains_id_seq", to=2)
    await connection.execute("SELECT setval('nonces_id_seq', 1000)")
    (chains,) = await rows(connection, "SELECT max(id) AS last FROM chains")
    assert await behind(connection) == {"chains_id_seq": chains["last"] - 2, "job_logs_seq": 3}
    moved = await rows(connection, "SELECT sequence_name, last_drawn, highest FROM advance_sequences()")
    assert [tuple(row.values()) for row in moved] == [("chains_id_seq", 2, chains["last"]), ("job_logs_seq", 2, 5)]
    assert await behind(connection) == {}
    names = ("job_logs_seq", "chains_id_seq", "nonces_id_seq")
    drawn = [(await rows(connection, "SELECT nextval(%s) AS number", name))[0]["number"] for name in names]
    assert drawn == [6, chains["last"] + 1, 1001]


async def test_a_large_gap_is_moved_over_at_once(connection: Connection, tron: Chain) -> None:
    await connection.execute(FAR, [tron.id])
    await rows(connection, "SELECT * FROM advance_sequences()")
    await add_chains(connection, tron, 1)
    assert await rows(connection, "SELECT max(id) FROM chains") == [{"max": 50_000_001}]


async def test_several_who_move_a_sequence_move_it_once(database: str, connection: Connection, tron: Chain) -> None:
    """Each draws right after it has moved: what one drew, no other moves below."""
    await connection.execute(FAR, [tron.id])

    async def move_and_draw() -> list[int]:
        async with await AsyncConnection.connect(database, autocommit=True) as session:
            await session.execute("SELECT * FROM advance_sequences()")
            found = await session.execute("SELECT nextval('chains_id_seq') FROM generate_series(1, 100)")
            return [row[0] for row in await found.fetchall()]

    drawn = [number for numbers in await asyncio.gather(*(move_and_draw() for _ in range(8))) for number in numbers]
    assert len(set(drawn)) == len(drawn) == 800
    assert min(drawn) > 50_000_000


@pytest.mark.parametrize("role", ["pipeline_executor", "pipeline_confirmations", "pipeline_web"])
async def test_whoever_inserts_may_move_them(connection: Connection, tron: Chain, role: str) -> None:
    await used(connection, tron, 3)
    await set_back(connection, "job_logs_seq")
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    await connection.execute("SELECT * FROM advance_sequences()")
    await connection.execute("RESET ROLE")
    assert await behind(connection) == {}


async def test_no_flag_is_dropped_by_a_number_that_is_taken(connection: Connection, database: str, tron: Chain) -> None:
    """Before, ON CONFLICT DO NOTHING dropped the job without a word, and the flag waited for a sweep."""
    wallets = await used(connection, tron, 10)
    await set_back(connection, "job_logs_seq")
    await flag(connection, *[wallet.id for wallet in wallets])
    async with queue_of(database) as queue:
        taken = await queue.enqueue_and_claim(GAS, 20)
    assert {job.wallet_id for job in taken} == {wallet.id for wallet in wallets}


async def test_no_flag_is_dropped_by_the_sweep(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await used(connection, tron, 10)
    await set_back(connection, "job_logs_seq")
    await flag(connection, *[wallet.id for wallet in wallets])
    async with queue_of(database) as queue:
        assert (await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=3)).jobs == 10


async def test_a_worker_runs_on_over_a_restore(connection: Connection, database: str, tron: Chain) -> None:
    """As when the primary is replaced by a logical replica under a process that runs."""
    # More are taken than one look draws: else the failed look itself may have moved the sequence past all of them.
    wallets = (await used(connection, tron, 30))[:10]
    script = Script()
    with logged("ERROR") as lines:
        async with running(executor(script), database):
            await set_back(connection, "job_logs_seq")
            for wallet in wallets:
                await flag(connection, wallet.id)
            await script.until_written(10)
    assert {job.wallet_id for job in script.started} == {wallet.id for wallet in wallets}
    assert (await statuses(connection)).keys() == {"completed"}
    assert [line for line in lines if "sequence job_logs_seq had drawn" in line] != []


async def test_a_process_moves_them_as_it_starts(connection: Connection, database: str, tron: Chain) -> None:
    await used(connection, tron, 3)
    await set_back(connection, "job_logs_seq", "transfers_id_seq", "chains_id_seq")
    async with running(executor(Script()), database):
        assert await behind(connection) == {}


async def test_the_sweep_moves_them(connection: Connection, database: str, tron: Chain) -> None:
    await often(connection)
    cycles = Cycles()
    async with running(Sweep(observer=cycles), database):
        await cycles.until(lambda _: True)
        await used(connection, tron, 3)
        await set_back(connection, "chains_id_seq", "transfers_id_seq")
        for _ in range(2):  # one may be under way
            await cycles.until(lambda _: True)
        assert await behind(connection) == {}
        # Before, the name of the next queue summary was taken, and the sweep ended.
        await set_back(connection, "job_logs_seq")
        for _ in range(2):
            await cycles.until(lambda _: True)
        assert await behind(connection) == {}
    await add_wallets(connection, tron, 1)


async def test_migrate_moves_them_and_says_so(connection: Connection, database: str, tron: Chain) -> None:
    await used(connection, tron, 3)
    await set_back(connection, "job_logs_seq", "chains_id_seq")
    assert (await migrate(database)).advanced == ("chains_id_seq", "job_logs_seq")
    assert (await migrate(database)).advanced == ()


async def test_payments_go_on_over_a_restore(world: World, desk: Desk) -> None:
    """Ids of payments and of signed attempts are taken: the job waits a moment, and no attempt of it is used up."""
    for number in range(2):
        wallet = await world.wallet(usdt=250 * USDT)
        await world.devnet.solidify()
        await world.flag(wallet, gas=True)
        if number:
            await world.connection.execute("SELECT setval('transfers_id_seq', 1, false)")
            await world.connection.execute("SELECT setval('chain_transactions_id_seq', 1, false)")
        outcomes = [type(outcome) for _, outcome in await desk.run(GAS)]
        assert outcomes == [Defer if number else Parked]
        await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'pending'")
        await desk.run(GAS)
        await desk.settle()
    assert [(row["status"], row["retry_count"]) for row in await world.jobs()] == [("completed", 0)] * 2
    assert [row["state"] for row in await world.transfers()] == ["final"] * 2
    await world.assert_database_equals_chain()


async def test_a_crash_right_after_the_first_migration_leaves_none_behind(home: Path) -> None:
    """The server of a first start writes as little ahead as it may (wal_level = minimal): what a transaction creates
    is logged as it stands at its end."""
    with Server(home / "own", settings={"wal_level": "minimal", "max_wal_senders": "0"}) as server:
        await migrate(server.dsn)
        async with await AsyncConnection.connect(server.dsn, autocommit=True) as connection:
            await connection.execute("DELETE FROM asset_on_chain")
            await connection.execute("DELETE FROM chains")
            await add_wallets(connection, await seed_tron(connection), 1)
        server.stop(signal.SIGQUIT)
        server.start()
        async with await AsyncConnection.connect(server.dsn, autocommit=True) as connection:
            assert await behind(connection) == {}
            assert await rows(connection, "SELECT count(*) AS n FROM wallets") == [{"n": 1}]
