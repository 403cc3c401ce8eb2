"""Slots: worker_registry.id has one process at a time, and who takes one over takes over nothing else."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection, pool_of
from pipeline.db.statements import statement
from pipeline.queue.jobs import JobType
from pipeline.queue.queue import JobQueue
from pipeline.workers.registry import Registration
from tests.db.money import new_job
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.db.test_registry import heartbeat, worker
from tests.db.test_rescue import session_of
from tests.db.worker_kit import executor_pool
from tests.patience import PATIENCE
from tests.seed import Chain, Wallet, add_wallets

SLOT = "tron-gas-topup-001"
SESSIONS = "SELECT worker_session_key(%s) = ANY (worker_sessions())"
GONE: Mapping[str, str] = {
    "stopped": "status = 'stopped', ended_at = now()",
    "silent": "last_heartbeat = now() - interval '61 seconds'",
    "dead": "session_seen = true, session_lost_at = now() - interval '6 seconds'",
}


async def slot_of(session: Connection, of: Mapping[str, Any]) -> str:
    """The slot that a process gets."""
    row = await (await session.execute(statement("workers/register"), of)).fetchone()
    assert row is not None
    return row[0]


def topup(**changes: Any) -> Mapping[str, Any]:
    return worker("gas-topup", **{"blockchain": "tron", **changes})


async def end(connection: Connection, of: Mapping[str, Any], how: str) -> None:
    await connection.execute(f"UPDATE worker_registry SET {GONE[how]} WHERE incarnation = %s", [of["incarnation"]])  # noqa: S608


@pytest.fixture
async def first(connection: Connection, tron: Chain) -> Mapping[str, Any]:
    """Has the slot."""
    of = topup()
    assert await slot_of(connection, of) == SLOT
    return of


@pytest.fixture
async def wallet(connection: Connection, tron: Chain) -> Wallet:
    (wallet,) = await add_wallets(connection, tron, 1)
    return wallet


class TestNames:
    @pytest.mark.parametrize(
        ("blockchain", "slot"),
        [
            (None, "all-sync-001"),
            ("tron", "tron-sync-001"),
            ("tron,bsc-testnet, bsc,tron", "bsc+bsc-testnet+tron-sync-001"),
        ],
    )
    async def test_chain_type_and_number(self, connection: Connection, blockchain: str | None, slot: str) -> None:
        assert await slot_of(connection, worker("sync", blockchain=blockchain)) == slot

    async def test_the_lowest_number_over_all_hosts(self, connection: Connection, first: Mapping[str, Any]) -> None:
        second, third = topup(host="other"), topup()
        assert await slot_of(connection, second) == "tron-gas-topup-002"
        assert await slot_of(connection, third) == "tron-gas-topup-003"
        await end(connection, second, "stopped")
        assert await slot_of(connection, topup(host="third")) == "tron-gas-topup-002"

    async def test_a_number_has_more_than_three_digits_where_it_must(self, connection: Connection) -> None:
        await connection.execute(
            "INSERT INTO worker_registry (id, name, type) SELECT format('all-sync-%s', to_char(n, 'FM000')), 'w', 'x'"
            " FROM generate_series(1, 999) AS n"
        )
        assert await slot_of(connection, worker("sync")) == "all-sync-1000"

    async def test_no_name_that_a_chain_cannot_have(self, connection: Connection) -> None:
        with pytest.raises(psycopg.errors.CheckViolation, match="a_slot_is_chain_type_and_number"):
            await slot_of(connection, worker("sync", blockchain="tron'; --"))


class TestTakingOver:
    @pytest.mark.parametrize("how", GONE)
    async def test_from_a_process_that_is_gone(
        self, connection: Connection, first: Mapping[str, Any], how: str
    ) -> None:
        await end(connection, first, how)
        second = topup(pid=2, token="another secret")
        assert await slot_of(connection, second) == SLOT
        assert await rows(
            connection, "SELECT incarnation, pid, status, session_lost_at, session_seen FROM worker_registry"
        ) == [(second["incarnation"], 2, "running", None, False)]

    @pytest.mark.parametrize(
        "lives",
        [
            "status = 'running'",
            "status = 'paused'",
            "status = 'error'",
            "last_heartbeat = now() - interval '50 seconds'",
            "session_seen = true, session_lost_at = now() - interval '3 seconds'",
        ],
    )
    async def test_never_from_one_that_may_live(
        self, connection: Connection, first: Mapping[str, Any], lives: str
    ) -> None:
        await connection.execute(f"UPDATE worker_registry SET {lives}".encode())  # noqa: S608
        assert await slot_of(connection, topup()) == "tron-gas-topup-002"

    @pytest.mark.parametrize("how", GONE)
    async def test_never_while_its_session_is_there(
        self, connection: Connection, database: str, first: Mapping[str, Any], how: str
    ) -> None:
        """Frozen, or stopped by an operator's hand and not told yet."""
        await end(connection, first, how)
        async with session_of(first["incarnation"], database):
            assert await slot_of(connection, topup()) == "tron-gas-topup-002"
        async with asyncio.timeout(PATIENCE):
            while await value(connection, SESSIONS, first["incarnation"]):  # noqa: ASYNC110 -- nothing signals its end
                await asyncio.sleep(0.005)
        assert await slot_of(connection, topup()) == SLOT

    async def test_a_late_heartbeat_changes_nothing(self, connection: Connection, first: Mapping[str, Any]) -> None:
        """Not with the secret of its own either; then it registers as what it was, elsewhere."""
        await end(connection, first, "silent")
        second = topup(token="another secret")
        await slot_of(connection, second)
        before = await rows(connection, "SELECT * FROM worker_registry")
        assert await heartbeat(connection, first, status="stopped", last_error="late", stats=Jsonb({"a": 1})) is None
        assert await rows(connection, "SELECT * FROM worker_registry") == before
        assert await slot_of(connection, first) == "tron-gas-topup-002"
        assert await heartbeat(connection, first) == await heartbeat(connection, second) == "running"

    async def test_a_heartbeat_in_between_keeps_the_slot(
        self, connection: Connection, database: str, first: Mapping[str, Any]
    ) -> None:
        await end(connection, first, "silent")
        async with second_session(database) as beating, second_session(database) as registering:
            async with beating.transaction():
                assert await heartbeat(beating, first) == "running"
                taking = asyncio.create_task(slot_of(registering, topup()))
                await until_blocked(connection, registering)
            assert await taking == "tron-gas-topup-002"
        assert await heartbeat(connection, first) == "running"

    async def test_two_at_once_never_get_one_slot(self, connection: Connection, database: str, tron: Chain) -> None:
        for _ in range(3):
            await slot_of(connection, topup())
        await connection.execute("UPDATE worker_registry SET status = 'stopped', ended_at = now()")
        async with pool_of(database, "test", role="pipeline_executor", max_size=8) as pool:
            processes = [Registration(pool, "gas-topup", blockchain="tron") for _ in range(24)]
            await asyncio.gather(*(process.register() for process in processes))
            assert {process.slot for process in processes} == {f"tron-gas-topup-{n:03}" for n in range(1, 25)}
            await asyncio.gather(*(process.heartbeat("running") for process in processes))
        assert set(await rows(connection, "SELECT id, incarnation FROM worker_registry")) == {
            (process.slot, process.incarnation) for process in processes
        }

    async def test_what_the_sweep_has_compared_stays(self, connection: Connection) -> None:
        of, up_to = worker("sweep"), str(uuid4())
        assert await slot_of(connection, of) == "all-sweep-001"
        await heartbeat(
            connection, of, status="stopped", ended=True, stats=Jsonb({"compared_up_to": up_to, "swept": 7})
        )
        second = worker("sweep")
        assert await slot_of(connection, second) == "all-sweep-001"
        await heartbeat(connection, second, stats=Jsonb({"swept": 0}))
        assert await value(connection, "SELECT stats FROM worker_registry") == {"compared_up_to": up_to, "swept": 0}
        assert await value(connection, statement("sweep/compared_up_to")) == UUID(up_to)


HOLDS: Mapping[str, tuple[str, str]] = {
    "job": (
        "UPDATE job_logs SET leased_by = {}, lease_deadline = now() + interval '1 hour'",
        "SELECT rescue_jobs('60 s', '0 s')",
    ),
    "lock": (
        "UPDATE wallet_balances SET processing_status = 'processing', locked_until = now() + interval '2 min',"
        " locked_by = format('tron-gas-topup-001:%%s:tron:1', {})",
        "UPDATE wallet_balances SET processing_status = 'idle', locked_by = NULL, locked_until = NULL",
    ),
    "leadership": (
        "INSERT INTO leaderships (name, holder, until) VALUES ('sweep', {}, now() + interval '20 s')",
        "UPDATE leaderships SET until = now()",
    ),
}


class TestWhatTheLastOneHeld:
    @pytest.mark.parametrize("how", GONE)
    @pytest.mark.parametrize("held", HOLDS)
    async def test_keeps_the_slot_until_it_was_taken_back(
        self, connection: Connection, first: Mapping[str, Any], wallet: Wallet, held: str, how: str
    ) -> None:
        """So that the rescue still knows who is dead."""
        await new_job(connection, wallet)
        await end(connection, first, how)
        hold, take_back = HOLDS[held]
        await connection.execute(hold.format("%s::uuid").encode(), [first["incarnation"]])
        assert await slot_of(connection, topup()) == "tron-gas-topup-002"
        await connection.execute(take_back.encode())
        assert await slot_of(connection, topup()) == SLOT

    async def test_a_lease_of_a_wrong_clock_does_not_keep_it(
        self, connection: Connection, first: Mapping[str, Any]
    ) -> None:
        await end(connection, first, "stopped")
        await connection.execute(
            "INSERT INTO leaderships (name, holder, until) VALUES ('sweep', %s, now() + interval '400 days')",
            [first["incarnation"]],
        )
        assert await slot_of(connection, topup()) == SLOT

    async def test_is_not_the_next_ones(
        self, connection: Connection, database: str, first: Mapping[str, Any], wallet: Wallet
    ) -> None:
        """A claim of the dead process came through after its slot was taken: the next one does not give that job back
        as its own, and the job is rescued although the slot has a live process."""
        await end(connection, first, "dead")
        second = topup()
        assert await slot_of(connection, second) == SLOT
        job = await new_job(connection, wallet)
        await connection.execute(
            "UPDATE job_logs SET lease = 1, leased_by = %s, lease_deadline = now() + interval '1 hour'",
            [first["incarnation"]],
        )
        async with executor_pool(database) as pool:
            queue = JobQueue(pool, second["incarnation"])
            assert await queue.release_unheld([]) == frozenset()
            assert await queue.enqueue_and_claim(JobType.GAS_TOPUP, 1) == []
        assert await value(connection, "SELECT leased_by FROM job_logs WHERE id = %s", job) == first["incarnation"]
        assert await rows(connection, "SELECT status, reason FROM rescue_jobs('60 s', '0 s')") == [
            ("retrying", "its worker is not registered")
        ]

    async def test_leadership_is_not_renewed_by_the_next_one(self, connection: Connection, tron: Chain) -> None:
        of = worker("confirmations", blockchain="tron")
        await slot_of(connection, of)
        lease = "SELECT lead('confirmations tron', %s, '30 s')"
        assert await value(connection, lease, of["incarnation"]) == 1
        await connection.execute(
            "UPDATE leaderships SET until = now() + interval '400 days'"
        )  # so that the slot is free
        await end(connection, of, "silent")
        second = worker("confirmations", blockchain="tron")
        assert await slot_of(connection, second) == "tron-confirmations-001"
        assert await value(connection, "SELECT stop_leading('confirmations tron', %s)", second["incarnation"]) is False
        assert await value(connection, lease, second["incarnation"]) == 2, "a change of hands, with a lease of its own"


@pytest.fixture
async def registrations(database: str) -> AsyncIterator[tuple[Registration, Registration]]:
    async with pool_of(database, "test", role="pipeline_executor") as pool:
        yield Registration(pool, "gas-topup"), Registration(pool, "gas-topup")


async def test_a_process_that_lost_its_slot_goes_on_in_another_one(
    connection: Connection, registrations: tuple[Registration, Registration]
) -> None:
    first, second = registrations
    await first.register()
    await connection.execute("UPDATE worker_registry SET status = 'stopped', ended_at = now()")
    await second.register()
    assert first.slot == second.slot == "all-gas-topup-001"
    await first.heartbeat("running")
    assert (first.slot, second.slot) == ("all-gas-topup-002", "all-gas-topup-001")
    assert await rows(connection, "SELECT id, incarnation, status FROM worker_registry ORDER BY id") == [
        ("all-gas-topup-001", second.incarnation, "running"),
        ("all-gas-topup-002", first.incarnation, "running"),
    ]
