"""What operators and the sweep do to jobs: statistics, retry, rescue, cancel."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pipeline.db.migrate import Schema
from pipeline.db.pool import Connection
from tests.db.money import new_job, new_transfer
from tests.db.notifications import notifications_of
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.seed import Chain, Wallet, add_wallets


async def new_worker(connection: Connection, *, silent: timedelta = timedelta(0), status: str = "running") -> UUID:
    return await value(
        connection,
        "INSERT INTO worker_registry (id, name, type, status, last_heartbeat)"
        " VALUES ('all-gas-topup-001', 'w1', 'gas-topup', %s, now() - %s) RETURNING incarnation",
        status,
        silent,
    )


async def lease(connection: Connection, job: UUID, worker: UUID | None, **columns: Any) -> None:
    """An active job in the hands of a worker, last touched an hour ago unless said otherwise."""
    columns = {"updated_at": "now() - interval '1 hour'", "lease_deadline": "now() + interval '1 hour'"} | columns
    assignments = ", ".join(f"{column} = {expression}" for column, expression in columns.items())
    await connection.execute(f"UPDATE job_logs SET leased_by = %s, {assignments} WHERE id = %s", [worker, job])  # noqa: S608


class TestRescue:
    @pytest.mark.parametrize(
        ("worker", "columns", "rescued"),
        [
            ({"silent": timedelta(seconds=61)}, {}, True),
            ({"silent": timedelta(seconds=50)}, {}, False),
            ({"status": "stopped"}, {}, True),
            ({"status": "error"}, {}, False),  # alive, whatever it says
            ({"status": "paused"}, {}, False),
            (None, {}, True),  # nobody knows that worker
            ({"silent": timedelta(hours=5)}, {"updated_at": "now() - interval '9 minutes'"}, False),
            ({"silent": timedelta(hours=5)}, {"updated_at": "now() - interval '11 minutes'"}, True),
            ({}, {"lease_deadline": "now() - interval '1 second'", "updated_at": "now()"}, True),
            ({}, {"updated_at": "now() - interval '5 days'"}, False),  # never for its age alone
        ],
    )
    async def test_who_is_rescued(
        self, connection: Connection, tron: Chain, worker: dict[str, Any] | None, columns: dict[str, str], rescued: bool
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet)
        await lease(connection, job, uuid4() if worker is None else await new_worker(connection, **worker), **columns)
        assert await value(connection, "SELECT cleanup_stuck_jobs(10)") == int(rescued)
        state = "SELECT status, retry_count, leased_by IS NULL, run_at <= now() FROM job_logs"
        assert await rows(connection, state) == (
            [("retrying", 1, True, True)] if rescued else [("active", 0, False, True)]
        )

    @pytest.mark.parametrize("state", ["broadcasting", "included"])
    @pytest.mark.parametrize("awaiting_chain", [True, False])
    async def test_never_what_may_still_land(
        self, connection: Connection, tron: Chain, state: str, awaiting_chain: bool
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet)
        await new_transfer(connection, tron, wallet, job=job, state=state)
        await lease(
            connection,
            job,
            None,
            awaiting_chain=str(awaiting_chain),
            updated_at="now() - interval '30 days'",
            lease_deadline="now() - interval '30 days'",
        )
        assert await value(connection, "SELECT cleanup_stuck_jobs(10)") == 0
        assert await value(connection, "SELECT cleanup_stuck_jobs(0)") == 0

    async def test_a_requested_payment_goes_on_where_it_stood(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet)
        await new_transfer(connection, tron, wallet, job=job)
        await lease(connection, job, None)
        assert await value(connection, "SELECT cleanup_stuck_jobs(10)") == 1
        assert await rows(connection, "SELECT j.status, t.state FROM job_logs j, transfers t") == [
            ("retrying", "requested")
        ]

    async def test_attempts_run_out(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet)
        await new_transfer(connection, tron, wallet, job=job)
        for number, status in enumerate(("retrying", "retrying", "failed"), 1):
            await lease(connection, job, None)
            ((job_id, now_status, reason),) = await rows(
                connection, "SELECT job_id, status, reason FROM rescue_jobs('60 s', '10 min')"
            )
            assert (now_status, reason) == (status, "its worker is not registered")
            assert await rows(
                connection, "SELECT retry_count, jsonb_array_length(data -> 'history'), error_message FROM job_logs"
            ) == [(number, number, "rescued: its worker is not registered")]
            if status == "retrying":
                await connection.execute("UPDATE job_logs SET status = 'active', lease = lease + 1")
        assert job_id.startswith("gas-topup-")
        # The dead letter gives up the payment that never left, so that a later job may decide anew.
        assert await rows(connection, "SELECT completed_at IS NOT NULL, t.state FROM job_logs, transfers t") == [
            (True, "rejected")
        ]

    async def test_the_reason_names_the_worker(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        worker = await new_worker(connection, silent=timedelta(minutes=3))
        await lease(connection, await new_job(connection, wallet), worker)
        (reason,) = (await rows(connection, "SELECT reason FROM rescue_jobs('60 s', '10 min')"))[0]
        assert reason.startswith("its worker w1 has been silent since ")

    async def test_a_job_that_is_being_finished_is_passed_over(
        self, connection: Connection, tron: Chain, database: str
    ) -> None:
        first, second = await add_wallets(connection, tron, 2)
        jobs = [await new_job(connection, wallet) for wallet in (first, second)]
        for job in jobs:
            await lease(connection, job, None)
        async with second_session(database) as finishing, finishing.transaction():
            await finishing.execute("UPDATE job_logs SET status = 'completed' WHERE id = %s", [jobs[0]])
            assert await rows(connection, "SELECT id FROM rescue_jobs('60 s', '10 min')") == [(jobs[1],)]
        assert await rows(connection, "SELECT status FROM job_logs ORDER BY seq") == [("completed",), ("retrying",)]

    async def test_notifies_the_listeners(self, connection: Connection, tron: Chain, database: str) -> None:
        wallets = await add_wallets(connection, tron, 2)
        for wallet in wallets:
            await lease(connection, await new_job(connection, wallet), None)
        async with notifications_of(database, connection) as notifications:
            await connection.execute("SELECT cleanup_stuck_jobs(10)")
            assert await notifications.received() == [("jobs", {"gas-topup": 2})]


class TestRetry:
    async def failed(
        self, connection: Connection, wallet: Wallet, job_type: str = "gas-topup", hours: float = 1
    ) -> UUID:
        job = await new_job(connection, wallet, job_type)
        await connection.execute(
            "UPDATE job_logs SET status = 'failed', retry_count = 3, completed_at = now() - %s, error_message = 'boom'"
            " WHERE id = %s",
            [timedelta(hours=hours), job],
        )
        return job

    async def test_starts_afresh(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await self.failed(connection, wallet)
        assert await value(connection, "SELECT retry_failed_jobs('gas-topup', 24)") == 1
        assert await rows(
            connection,
            "SELECT status, retry_count, completed_at, started_at, run_at <= now(), error_message FROM job_logs",
        ) == [("pending", 0, None, None, True, "boom")]
        assert await value(connection, "SELECT retry_failed_jobs('gas-topup', 24)") == 0

    async def test_only_that_type_and_that_long_ago(self, connection: Connection, tron: Chain) -> None:
        first, second, third = await add_wallets(connection, tron, 3)
        await self.failed(connection, first, "consolidation")
        await self.failed(connection, second, hours=25)
        recent = await self.failed(connection, third, hours=23)
        assert await value(connection, "SELECT retry_failed_jobs('gas-topup', 24)") == 1
        assert await rows(connection, "SELECT id FROM job_logs WHERE status = 'pending'") == [(recent,)]
        assert await value(connection, "SELECT retry_failed_jobs(NULL, 24)") == 1

    async def test_one_live_job_per_wallet_and_type(self, connection: Connection, tron: Chain) -> None:
        first, second = await add_wallets(connection, tron, 2)
        await self.failed(connection, first, hours=3)
        newest = await self.failed(connection, first, hours=1)
        await self.failed(connection, second)
        await new_job(connection, second)
        assert await value(connection, "SELECT retry_failed_jobs('gas-topup', 24)") == 1
        assert await rows(connection, "SELECT id FROM job_logs WHERE status = 'pending'") == [(newest,)]

    async def test_jobs_without_a_wallet(self, connection: Connection) -> None:
        await connection.execute(
            "INSERT INTO job_logs (job_type, status) VALUES ('sync', 'failed'), ('sync', 'failed')"
        )
        assert await value(connection, "SELECT retry_failed_jobs('sync', 1)") == 2

    async def test_somebody_queues_one_at_the_same_moment(
        self, connection: Connection, tron: Chain, database: str
    ) -> None:
        first, second = await add_wallets(connection, tron, 2)
        await self.failed(connection, first)
        await self.failed(connection, second)
        async with second_session(database) as other:
            async with connection.transaction():
                await new_job(connection, first)
                retrying = asyncio.create_task(value(other, "SELECT retry_failed_jobs('gas-topup', 24)"))
                await until_blocked(connection, other)
            assert await retrying == 1

    async def test_an_unknown_type(self, connection: Connection) -> None:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match='unknown job_type "gas"') as refused:
            await connection.execute("SELECT retry_failed_jobs('gas', 24)")
        assert "gas-topup" in str(refused.value.diag.message_hint)


class TestCancel:
    @pytest.mark.parametrize("status", ["pending", "retrying"])
    async def test_waiting_jobs(self, connection: Connection, tron: Chain, status: str) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet, status=status)
        await new_transfer(connection, tron, wallet, job=job)
        assert await value(connection, "SELECT cancel_job(%s)", str(job).upper()) is True
        assert await value(connection, "SELECT cancel_job(%s)", str(job)) is False
        assert await rows(
            connection, "SELECT status, completed_at IS NOT NULL, t.state FROM job_logs, transfers t"
        ) == [("cancelled", True, "rejected")]

    async def test_by_job_id(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, wallet_address) VALUES ('mine', 'sync', %s)", [wallet.address]
        )
        assert await value(connection, "SELECT cancel_job('mine')") is True

    @pytest.mark.parametrize(
        ("status", "awaiting_chain", "message"),
        [
            ("active", False, "while a worker runs it"),
            ("active", True, "its transaction may still land"),
            ("completed", False, "has finished: it is completed"),
            ("failed", False, "has finished: it is failed"),
        ],
    )
    async def test_all_others_are_refused(
        self, connection: Connection, tron: Chain, status: str, awaiting_chain: bool, message: str
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet, status=status)
        if awaiting_chain:
            await connection.execute("UPDATE job_logs SET awaiting_chain = true")
        with pytest.raises(psycopg.DatabaseError, match=message):
            await connection.execute("SELECT cancel_job(%s)", [str(job)])
        assert await value(connection, "SELECT status FROM job_logs") == status

    async def test_an_unknown_job(self, connection: Connection) -> None:
        with pytest.raises(psycopg.errors.NoDataFound, match='there is no job "nobody"'):
            await connection.execute("SELECT cancel_job('nobody')")


async def test_statistics(connection: Connection, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 4)
    for wallet, status in zip(wallets, ("pending", "active", "retrying", "completed"), strict=True):
        await new_job(connection, wallet, status=status)
    await new_job(connection, wallets[0], "consolidation", "failed")
    await connection.execute(
        "INSERT INTO job_logs (job_type, status, data) VALUES ('sync', 'completed', '{\"duration_ms\": 10.5}'),"
        " ('sync', 'completed', '{\"duration_ms\": 20}'), ('sync', 'completed', '{}')"
    )
    stats = await rows(
        connection,
        "SELECT job_type, pending, active, retrying, completed, failed, cancelled, total, due, average_duration_ms"
        " FROM get_job_queue_stats()",
    )
    assert stats == [
        ("gas-topup", 1, 1, 1, 1, 0, 0, 4, 2, None),
        ("consolidation", 0, 0, 0, 0, 1, 0, 1, 0, None),
        ("withdrawal", 0, 0, 0, 0, 0, 0, 0, 0, None),
        ("deposit-detection", 0, 0, 0, 0, 0, 0, 0, 0, None),
        ("sync", 0, 0, 0, 3, 0, 0, 3, 0, Decimal("15.3")),
    ]


async def test_schema_version(connection: Connection) -> None:
    assert await value(connection, "SELECT schema_version()") == Schema.of_this_version().version


class TestJobsByHand:
    """INSERT INTO job_logs with no more than an operator types."""

    async def test_wallet_chain_and_user_are_found(self, connection: Connection, tron: Chain) -> None:
        user = await value(connection, "INSERT INTO auth.users (email) VALUES ('a@b') RETURNING id")
        (wallet,) = await add_wallets(connection, tron, 1)
        await connection.execute("UPDATE wallets SET user_id = %s", [user])
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES ('j', 'gas-topup', 'pending', %s)",
            [wallet.address],
        )
        assert await rows(
            connection, "SELECT wallet_id, chain_id, user_id, triggered_by, run_at <= now() FROM job_logs"
        ) == [(wallet.id, tron.id, user, "manual", True)]

    async def test_by_wallet_id_alone(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await connection.execute("INSERT INTO job_logs (job_type, wallet_id) VALUES ('gas-topup', %s)", [wallet.id])
        assert await rows(connection, "SELECT wallet_address, chain_id FROM job_logs") == [(wallet.address, tron.id)]

    @pytest.mark.parametrize(
        ("job_type", "address", "message", "hint"),
        [
            ("gas_topup", "T", 'unknown job_type "gas_topup"', "gas-topup"),
            ("gas-topup", "Tnobody", 'no wallet with the address "Tnobody"', "user_wallets"),
            ("sync", "Tnobody", 'no wallet with the address "Tnobody"', "user_wallets"),
            ("consolidation", None, "needs a wallet_address", "user_wallets"),
        ],
    )
    async def test_what_cannot_run_is_refused(
        self, connection: Connection, tron: Chain, job_type: str, address: str | None, message: str, hint: str
    ) -> None:
        with pytest.raises(psycopg.DatabaseError, match=message) as refused:
            await connection.execute(
                "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES ('j', %s, 'pending', %s)",
                [job_type, address],
            )
        assert hint in str(refused.value.diag.message_hint)

    async def test_one_address_on_two_chains(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        nile = await value(
            connection,
            "INSERT INTO chains (name, family, network_id, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,"
            " gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day)"
            " VALUES ('nile', 'tron', 'nile', 5, 1, 5, 1, 50, 100, 1000) RETURNING id",
        )
        await connection.execute("INSERT INTO user_wallets (address, network) VALUES (%s, 'nile')", [wallet.address])
        insert = "INSERT INTO job_logs (job_type, wallet_address, chain_id, data) VALUES ('gas-topup', %s, %s, %s)"
        with pytest.raises(psycopg.errors.CardinalityViolation, match="on several chains"):
            await connection.execute(insert, [wallet.address, None, "{}"])
        await connection.execute(insert, [wallet.address, None, '{"chain": "tron"}'])
        await connection.execute(insert, [wallet.address, nile, "{}"])
        assert await rows(connection, "SELECT chain_id FROM job_logs ORDER BY seq") == [(tron.id,), (nile,)]

    async def test_a_summary_needs_no_wallet(self, connection: Connection) -> None:
        await connection.execute(
            "INSERT INTO job_logs (job_type, status, data)"
            """ VALUES ('sync', 'completed', '{"queue_summary": "true"}')"""
        )
        assert await value(connection, "SELECT count(*) FROM job_logs WHERE data->>'queue_summary' = 'true'") == 1

    async def test_one_live_job_per_wallet_and_type(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        insert = "INSERT INTO job_logs (job_type, wallet_address) VALUES (%s, %s)"
        await connection.execute(insert, ["gas-topup", wallet.address])
        await connection.execute(insert, ["consolidation", wallet.address])
        with pytest.raises(psycopg.errors.UniqueViolation, match="one_live_job_per_wallet_and_type"):
            await connection.execute(insert, ["gas-topup", wallet.address])
