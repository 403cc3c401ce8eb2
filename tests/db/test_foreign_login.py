"""A login without any right here but to connect, which PUBLIC has by default: what it can hold, and what it stops."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from uuid import uuid4

import psycopg
import pytest

from pipeline.db.listener import Listener
from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection, pool_of
from pipeline.workers.leader import Leader
from pipeline.workers.runtime import SESSIONLESS_HEARTBEAT_SECONDS
from tests.db.logins import login
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.db.test_gate import FLAG, Gated
from tests.db.worker_kit import PATIENCE, Script, executor, flag, running
from tests.seed import TRX, Chain, Wallet, add_wallets, set_balance

LOCKS_BEFORE = """
    SELECT pg_advisory_lock(hashtext('flagpost: gas budgets'), id) FROM chains;
    SELECT pg_advisory_lock(hashtextextended('flagpost: ' || name, 0))
    FROM unnest(ARRAY['thresholds', 'sweep', 'confirmations tron']) AS name;
    SELECT pg_advisory_lock(hashtextextended(format('flagpost: nonces of %s on %s', 'Tsender', id), 0)) FROM chains;
    SELECT pg_advisory_lock(7092113040558);
"""
"""What serialised money, flags, migrations and who acts, as long as whoever may connect could take it."""
WITHOUT_RIGHTS = (
    "SELECT lock_gas(1)",
    "SELECT lock_sender(1, 'Tsender')",
    "SELECT lock_row('gas of chain 1')",
    "SELECT lock_thresholds(true)",
    "SELECT FROM flagpost_locks.named FOR UPDATE",
    "LOCK TABLE flagpost_locks.thresholds IN ROW SHARE MODE",
    "PREPARE hold AS DELETE FROM flagpost_locks.thresholds",
    "PREPARE hold AS SELECT FROM flagpost_locks.named FOR UPDATE",
    "SELECT lead('sweep', gen_random_uuid(), '30 s')",
    "SELECT stop_leading('sweep', gen_random_uuid())",
    "SELECT register_worker(gen_random_uuid(), 'w', 'sync', NULL, 1, 'h', NULL, '{}', 'secret')",
    "SELECT worker_heartbeat(gen_random_uuid(), 'running', 'paused', NULL, NULL, 'secret')",
    "LOCK TABLE schema_migrations IN SHARE UPDATE EXCLUSIVE MODE",
)


@pytest.fixture
def foreign_dsn(database: str) -> Iterator[str]:
    with login(database, "foreign") as dsn:
        yield dsn


@pytest.fixture
async def foreign(foreign_dsn: str, tron: Chain) -> AsyncIterator[Connection]:
    """Its session."""
    async with second_session(foreign_dsn) as session:
        yield session


@pytest.fixture
async def wallets(connection: Connection, tron: Chain) -> Sequence[Wallet]:
    return await add_wallets(connection, tron, 3)


async def holds_what_it_can(foreign: Connection, connection: Connection) -> None:
    """Every advisory lock by which anything of ours was ever serialised, alone."""
    (chain,) = await rows(connection, "SELECT id FROM chains")
    for statement in LOCKS_BEFORE.split(";")[:-1]:
        await foreign.execute(statement.replace("FROM chains", f"FROM (VALUES ({chain[0]})) AS chain (id)").encode())


@pytest.mark.parametrize("attempt", WITHOUT_RIGHTS)
async def test_it_can_take_none_of_our_locks(foreign: Connection, attempt: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with foreign.transaction():
            await foreign.execute(attempt.encode())


class TestWhatGoesOnWhateverItHolds:
    @pytest.fixture(autouse=True)
    async def all_is_held(self, foreign: Connection, connection: Connection) -> None:
        await holds_what_it_can(foreign, connection)
        await connection.execute("SET statement_timeout = '2s'")

    async def test_gas_is_counted_and_nonces_are_reserved(self, connection: Connection, tron: Chain) -> None:
        await connection.execute("SELECT lock_gas(%s), lock_sender(%s, 'Tsender')", [tron.id, tron.id])

    async def test_balances_are_stored_and_thresholds_changed(
        self, connection: Connection, tron: Chain, wallets: Sequence[Wallet]
    ) -> None:
        await set_balance(connection, wallets[0], tron.native_id, 1)
        assert await value(connection, "SELECT needs_gas FROM wallets WHERE id = %s", wallets[0].id)
        await set_balance(connection, wallets[1], tron.native_id, 6 * TRX)
        await connection.execute("UPDATE chains SET gas_flag_below = %s", [7 * TRX])
        assert await value(connection, "SELECT needs_gas FROM wallets WHERE id = %s", wallets[1].id)

    @pytest.mark.parametrize(
        ("name", "role"), [("sweep", "pipeline_executor"), ("confirmations tron", "pipeline_confirmations")]
    )
    async def test_somebody_leads(self, database: str, name: str, role: str) -> None:
        async with pool_of(database, "test", role=role) as pool:
            leader = Leader(pool, uuid4(), name)
            assert await leader.leads()
            await leader.close()

    async def test_the_database_is_migrated(self, database: str) -> None:
        async with asyncio.timeout(PATIENCE):
            await migrate(database)


class TestTheSessionOfAWorker:
    KEY = "SELECT worker_session_key(%s)"

    async def test_a_dead_one_is_not_kept_alive(
        self, connection: Connection, foreign: Connection, database: str
    ) -> None:
        """Anybody can read in pg_locks which key a worker holds."""
        worker = uuid4()
        key = await value(connection, self.KEY, worker)
        await foreign.execute("SELECT pg_advisory_lock_shared(%s)", [key])
        there = "SELECT worker_session_key(%s) = ANY (worker_sessions())"
        assert not await value(connection, there, worker)
        async with Listener(database, ["jobs"], name="test", worker_id=worker):
            assert await value(connection, there, worker)

    async def test_a_living_one_listens_and_says_that_it_lives(
        self, connection: Connection, foreign: Connection, database: str, wallets: Sequence[Wallet]
    ) -> None:
        """Its key is held alone before it connects again: it is judged by its heartbeats, which come every 2 s then."""
        script = Script()
        async with running(executor(script), database) as runtime:
            key = await value(connection, self.KEY, runtime.registration.incarnation)
            taking = asyncio.create_task(foreign.execute("SELECT pg_advisory_lock(%s)", [key]))
            await until_blocked(connection, foreign)
            before, reconnects = runtime.heartbeats, runtime.listener.reconnects
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE '%gas-topup listener'"
            )
            await taking
            async with runtime.beaten, asyncio.timeout(PATIENCE):
                await runtime.beaten.wait_for(lambda: runtime.heartbeats >= before + 3)  # one is due in 30 s
            assert runtime.listener.reconnects > reconnects
            assert runtime.listener.unseen.is_set()
            await flag(connection, wallets[0].id)
            await script.until_written(1)
            await rows(connection, "SELECT mark_silent_workers('60 s')")
            assert await rows(connection, "SELECT status FROM worker_registry") == [("running",)]
            assert SESSIONLESS_HEARTBEAT_SECONDS < 5
            await foreign.execute("SELECT pg_advisory_unlock_all()")

    async def test_the_lock_is_taken_once_it_is_free(
        self, connection: Connection, foreign: Connection, database: str
    ) -> None:
        worker = uuid4()
        await foreign.execute("SELECT pg_advisory_lock(%s)", [await value(connection, self.KEY, worker)])
        async with Listener(database, ["jobs"], name="test", worker_id=worker, ping_interval=0.05) as listener:
            assert listener.unseen.is_set()
            await foreign.execute("SELECT pg_advisory_unlock_all()")
            async with asyncio.timeout(PATIENCE):
                while listener.unseen.is_set():
                    listener.answered.clear()
                    await listener.answered.wait()


class TestTheGate:
    """Whatever it holds of the three locks, no flag is missed and nobody waits for it
    (sql/functions/notify_suppression.sql)."""

    @pytest.fixture
    async def sessions(self, database: str) -> AsyncIterator[list[Connection]]:
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(second_session(database)) for _ in range(3)]
            for session in opened:
                await session.execute("SET statement_timeout = '2s'")
            yield opened

    @pytest.mark.parametrize("mode", ["pg_advisory_lock", "pg_advisory_lock_shared"])
    @pytest.mark.parametrize("held", ["waiting", "polling", "suppressed", "waiting polling suppressed"])
    async def test_no_flag_is_missed(
        self,
        connection: Connection,
        foreign: Connection,
        sessions: list[Connection],
        wallets: Sequence[Wallet],
        held: str,
        mode: str,
    ) -> None:
        """Taken before the listener comes; let go in the end, when it has to rely on NOTIFY."""
        for lock in held.split():
            await foreign.execute(f"SELECT {mode}(hashtextextended('flagpost: wallet_flags ' || %s, 0))", [lock])
        gated, first, second = Gated(sessions[0], connection), sessions[1], sessions[2]
        await gated.start()
        await first.execute("BEGIN")
        await first.execute(FLAG, [wallets[0].id])
        await gated.go_on()
        await first.execute("COMMIT")
        await gated.go_on()
        await gated.go_on()
        assert wallets[0].id in gated.seen
        if gated.waits:
            await gated.start_polling()
        await second.execute(FLAG, [wallets[1].id])
        await gated.go_on()
        await gated.go_on()
        assert wallets[1].id in gated.seen
        await foreign.execute("SELECT pg_advisory_unlock_all()")
        await gated.until_waiting()
        notifications = gated.notifications
        await second.execute(FLAG, [wallets[2].id])
        await gated.go_on()
        assert gated.notifications == notifications + 1
        assert wallets[2].id in gated.seen

    async def test_what_is_let_go_while_the_listener_polls(
        self, connection: Connection, foreign: Connection, sessions: list[Connection], wallets: Sequence[Wallet]
    ) -> None:
        """It held "waiting" alone, so that all notified, and "polling", so that none does once "waiting" is let go."""
        for lock in ("waiting", "polling"):
            await foreign.execute("SELECT pg_advisory_lock(notify_lock(%s))".replace("notify_lock(%s)", KEY), [lock])
        gated, writer = Gated(sessions[0], connection), sessions[1]
        await gated.start()
        assert gated.gate.seconds_left < math.inf
        await foreign.execute(f"SELECT pg_advisory_unlock({KEY})", ["waiting"])
        await writer.execute(FLAG, [wallets[0].id])
        await gated.go_on()
        assert gated.notifications == 0
        assert gated.seen == {wallets[0].id}

    async def test_a_person_is_told_that_notify_may_be_suppressed(
        self, foreign: Connection, sessions: list[Connection]
    ) -> None:
        assert await value(sessions[0], "SELECT require_notify()")
        await sessions[0].execute("SELECT pg_advisory_unlock_all()")
        await foreign.execute(f"SELECT pg_advisory_lock({KEY})", ["waiting"])
        assert await value(sessions[0], "SELECT require_notify()") is False


KEY = "hashtextextended('flagpost: wallet_flags ' || %s, 0)"


class TestWhoHoldsALockOfOurs:
    """Of those who may: no wait is without end, and it is said for whom."""

    WHO = "SELECT application_name, blocker, blocker_user FROM blocked_sessions('0 s')"

    async def test_gas(self, connection: Connection, database: str, tron: Chain) -> None:
        async with second_session(database) as holder, second_session(database) as waiting:
            await holder.execute("BEGIN")
            await holder.execute("SELECT lock_gas(%s)", [tron.id])
            asking = asyncio.create_task(waiting.execute("SELECT lock_gas(%s)", [tron.id]))
            await until_blocked(connection, waiting)
            assert await rows(connection, self.WHO) == [("", holder.info.backend_pid, holder.info.user)]
            await holder.execute("COMMIT")
            await asking
            assert await rows(connection, self.WHO) == []

    @pytest.mark.parametrize(
        ("function", "held", "wanted"),
        [
            ("lock_row", "SELECT lock_gas(1)", "SELECT lock_gas(1)"),
            ("lock_row", "SELECT lock_sender(1, 'T')", "SELECT lock_sender(1, 'T')"),
            ("lock_thresholds", "SELECT lock_thresholds(true)", "SELECT lock_thresholds(false)"),
            ("lock_thresholds", "SELECT lock_thresholds(false)", "SELECT lock_thresholds(true)"),
        ],
    )
    async def test_the_wait_ends(
        self, connection: Connection, database: str, function: str, held: str, wanted: str
    ) -> None:
        (settings,) = await rows(connection, "SELECT proconfig FROM pg_proc WHERE proname = %s", function)
        assert "lock_timeout=10s" in settings[0]
        await connection.execute(f"ALTER FUNCTION {function} SET lock_timeout = '50ms'")
        async with second_session(database) as holder:
            for _ in range(2):  # the first time its row is not there yet
                await holder.execute("BEGIN")
                await holder.execute(held.encode())
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    await connection.execute(wanted.encode())
                await holder.execute("COMMIT")
        await connection.execute(wanted.encode())

    async def test_those_who_judge_do_not_wait_for_one_another(self, connection: Connection, database: str) -> None:
        async with second_session(database) as other, other.transaction():
            await other.execute("SELECT lock_thresholds(false)")
            await connection.execute("SET lock_timeout = 1")
            await connection.execute("SELECT lock_thresholds(false)")

    async def test_a_lock_younger_than_the_transaction(self, database: str, tron: Chain) -> None:
        """At repeatable read its row is not there yet: no lock is claimed that is none."""
        async with second_session(database) as old, second_session(database) as young:
            await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await old.execute("SELECT FROM chains")
            await young.execute("SELECT lock_gas(%s)", [tron.id])
            with pytest.raises(psycopg.errors.SerializationFailure):
                await old.execute("SELECT lock_gas(%s)", [tron.id])
