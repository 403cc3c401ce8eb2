"""Health of workers and of the whole: what fails a check, what heals it, and what `flagpost status` makes of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb
from rich.console import Group
from rich.live import Live

from pipeline.cli.status import _watch
from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from pipeline.queue.jobs import Done, Failed
from pipeline.settings import Settings
from pipeline.workers.attempts import RecentAttempts
from pipeline.workers.sweep import Sweep
from tests.db.cli_kit import Shell
from tests.db.money import new_transfer
from tests.db.sessions import rows, value
from tests.db.test_registry import heartbeat, register, worker
from tests.db.worker_kit import PATIENCE, Script, configure, executor, flag, running
from tests.db.worker_kit import heartbeat as beat
from tests.seed import Chain, add_wallets

CHECKS = "SELECT health, heartbeat, memory, progress, error_rate FROM worker_health()"
SYSTEM = "SELECT health, reasons FROM system_health()"
SLOT = "all-gas-topup-001"
OF_OLD = "UPDATE worker_registry SET told_at = now() - interval '11 s', created_at = now() - interval '1 h'"


async def health(connection: Connection) -> str:
    return str((await rows(connection, SYSTEM))[0][0])


async def reasons(connection: Connection) -> list[str]:
    return list((await rows(connection, SYSTEM))[0][1])


@pytest.fixture
async def wallet_due(connection: Connection, tron: Chain) -> None:
    """A gas top-up that has been due for two minutes."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address, run_at)"
        " VALUES ('due', 'gas-topup', 'pending', %s, now() - interval '2 min')",
        [wallet.address],
    )


@pytest.fixture
async def alive(connection: Connection, tron: Chain) -> Mapping[str, Any]:
    """A worker that is well."""
    of = await register(connection, worker("gas-topup"))
    assert await rows(connection, CHECKS) == [("healthy", None, None, None, None)]
    assert await rows(connection, SYSTEM) == [("Healthy", [])]
    return of


class TestAWorkerIsNotHealthy:
    async def test_without_a_heartbeat(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await connection.execute("UPDATE worker_registry SET last_heartbeat = now() - interval '61 s'")
        ((judged, wrong, *others),) = await rows(connection, CHECKS)
        assert (judged, others) == ("warning", [None, None, None])
        assert wrong.startswith("silent since")
        assert await health(connection) == "Degraded"
        await heartbeat(connection, alive)
        assert await rows(connection, SYSTEM) == [("Healthy", [])]

    @pytest.mark.parametrize(
        ("stats", "column", "wrong"),
        [
            ({"memory_bytes": 501_000_000}, "memory", "501 MB, workers.memory_limit_mb is 500"),
            ({"held_seconds": 181}, "progress", "has held a job for 181 s, queue.deadline_seconds is 120"),
            (
                {"recent_attempts": 10, "recent_failed": 2},
                "error_rate",
                "2 of 10 attempts failed in ten minutes",
            ),
        ],
    )
    async def test_by_what_it_says(
        self, connection: Connection, alive: Mapping[str, Any], stats: Mapping[str, int], column: str, wrong: str
    ) -> None:
        await heartbeat(connection, alive, stats=Jsonb(stats))
        assert await rows(connection, f"SELECT health, {column} FROM worker_health()") == [("warning", wrong)]  # noqa: S608
        ((judged, (why,)),) = await rows(connection, SYSTEM)
        assert judged == "Degraded"
        assert why.startswith(f"{SLOT}: {wrong}: flagpost ")
        await heartbeat(connection, alive, stats=Jsonb(dict.fromkeys(stats, 0)))
        for odd in ("abc", {}, 1e300, -1, None):
            await heartbeat(connection, alive, stats=Jsonb(dict.fromkeys(stats, odd)))
            assert await value(connection, "SELECT health FROM worker_health()") == "healthy", odd
        assert await rows(connection, SYSTEM) == [("Healthy", [])]

    @pytest.mark.parametrize(
        "stats",
        [
            {"memory_bytes": 499_000_000, "held_seconds": 179},
            {"recent_attempts": 9, "recent_failed": 9},
            {"recent_attempts": 20, "recent_failed": 2},
        ],
    )
    async def test_not_by_less(
        self, connection: Connection, alive: Mapping[str, Any], stats: Mapping[str, int]
    ) -> None:
        await heartbeat(connection, alive, stats=Jsonb(stats))
        assert await health(connection) == "Healthy"

    async def test_that_fails_two_checks(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await heartbeat(connection, alive, stats=Jsonb({"memory_bytes": 9e9, "held_seconds": 999}))
        assert await value(connection, "SELECT health FROM worker_health()") == "unhealthy"

    async def test_that_leads_and_does_not_renew_its_lease(
        self, connection: Connection, alive: Mapping[str, Any]
    ) -> None:
        await connection.execute(
            "INSERT INTO leaderships (name, holder, until, renewed_at) VALUES"
            " ('sweep', %s, now() - interval '11 s', now() - interval '41 s')",
            [alive["incarnation"]],
        )
        assert (await value(connection, "SELECT progress FROM worker_health()")).startswith("leads sweep, and has not")

    async def test_that_has_not_obeyed(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await connection.execute("SELECT control_worker(%s, 'pause')", [SLOT])
        assert await health(connection) == "Healthy", "it has ten seconds"
        await connection.execute(OF_OLD)
        await heartbeat(connection, alive)
        assert (await reasons(connection))[0].startswith(
            f"{SLOT}: told to be paused, and has not obeyed; its heartbeat"
        ), "also when it says that it lives"
        await heartbeat(connection, alive, status="paused", observed=1)
        assert await rows(connection, "SELECT health FROM worker_health()") == [("paused",)]
        assert await health(connection) == "Healthy"

    async def test_that_has_not_begun_anew(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await connection.execute("SELECT control_worker(%s, 'restart')", [SLOT])
        assert await health(connection) == "Healthy"
        await connection.execute(OF_OLD)
        assert (await reasons(connection))[0].startswith(f"{SLOT}: told to restart, and has not obeyed")

    async def test_a_process_of_the_version_before_is_not_said_to_disobey(
        self, connection: Connection, alive: Mapping[str, Any]
    ) -> None:
        await connection.execute("UPDATE worker_registry SET observed_generation = NULL, status = 'paused'")
        await connection.execute(OF_OLD)
        assert await value(connection, "SELECT disobeys FROM worker_health()") is None

    async def test_that_keeps_balances_locked(self, connection: Connection, tron: Chain) -> None:
        of = await register(connection, worker("sync"))
        (wallet,) = await add_wallets(connection, tron, 1)
        await connection.execute(
            "UPDATE wallet_balances SET processing_status = 'processing', locked_by = %s,"
            " locked_until = now() - interval '59 s' WHERE wallet_id = %s",
            [str(of["incarnation"]), wallet.id],
        )
        assert await value(connection, "SELECT progress FROM worker_health()") is None
        await connection.execute("UPDATE wallet_balances SET locked_until = now() - interval '61 s'")
        assert (await value(connection, "SELECT progress FROM worker_health()")).startswith("keeps balances locked")
        await connection.execute("UPDATE wallet_balances SET locked_by = %s", [str(uuid4())])
        assert await value(connection, "SELECT progress FROM worker_health()") is None, "another one's"

    async def test_that_reads_no_new_block_though_payments_are_out(self, connection: Connection, tron: Chain) -> None:
        of = await register(connection, worker("confirmations"))
        (wallet,) = await add_wallets(connection, tron, 1)
        await connection.execute(
            "INSERT INTO leaderships (name, holder, until, renewed_at)"
            " VALUES ('confirmations tron', %s, now() + interval '20 s', now())",
            [of["incarnation"]],
        )
        transfer = await new_transfer(connection, tron, wallet, state="broadcasting")
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(
                "INSERT INTO chain_cursors (chain_id, purpose, block_number, block_id, block_time, updated_at)"
                " VALUES (%s, 'confirmations', 7, '7', now() - interval '11 min', now() - interval '11 min')"
                " ON CONFLICT (chain_id, purpose) DO UPDATE SET updated_at = excluded.updated_at",
                [tron.id],
            )
        assert await value(connection, "SELECT progress FROM worker_health()") is None, "the payment is new"
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(
                "UPDATE transfers SET created_at = now() - interval '11 min' WHERE id = %s", [transfer]
            )
        assert (await value(connection, "SELECT progress FROM worker_health()")).startswith(
            "leads confirmations tron, and has read no new block for 00:11:0"
        )
        await connection.execute("UPDATE chain_cursors SET block_number = 8, block_time = now()")
        assert await value(connection, "SELECT progress FROM worker_health()") is None

    async def test_of_which_others_say_that_it_is_gone(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await connection.execute(
            "UPDATE worker_registry SET status = 'error', last_heartbeat = now() - interval '2 min',"
            " last_error = 'ended five times within 10 s'"
        )
        assert await rows(connection, CHECKS) == [("warning", "ended five times within 10 s", None, None, None)]

    async def test_one_that_was_stopped_is_not_judged(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await connection.execute("SELECT control_worker(%s, 'stop')", [SLOT])
        await heartbeat(connection, alive, status="stopped", observed=1, ended=True, stats=Jsonb({"memory_bytes": 9e9}))
        await connection.execute("UPDATE worker_registry SET managed_by = 'h'")
        assert await rows(connection, CHECKS) == [("stopped", None, None, None, None)]
        assert await health(connection) == "Healthy"


class TestTheWhole:
    async def test_is_down_where_work_is_due_and_nobody_lives(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, status, wallet_address, run_at)"
            " VALUES ('due', 'gas-topup', 'pending', %s, now() - interval '59 s')",
            [wallet.address],
        )
        assert await health(connection) == "Healthy", "a worker that restarts takes some seconds"
        await connection.execute("UPDATE job_logs SET run_at = now() - interval '61 s'")
        (why,) = await reasons(connection)
        assert why.startswith(
            "gas-topup: work has been due for 00:01:01, and no worker of that type lives: start one: "
        )
        of = await register(connection, worker("gas-topup"))
        assert await health(connection) == "Healthy"
        await connection.execute("UPDATE worker_registry SET ended_at = now(), status = 'stopped'")
        assert await health(connection) == "Down"
        await heartbeat(connection, of, status="stopped", observed=0)
        await connection.execute("UPDATE worker_registry SET desired = 'stopped'")
        assert await health(connection) == "Down", "one that is parked does no work"

    async def test_is_down_where_flags_have_nobody(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await flag(connection, wallet.id)
        assert await health(connection) == "Healthy"
        await connection.execute("UPDATE wallets SET needs_gas_since = now() - interval '2 min'")
        assert await health(connection) == "Down"
        await connection.execute("UPDATE chains SET is_active = false")
        assert await health(connection) == "Healthy", "a chain that is switched off waits for nobody"

    async def test_is_down_where_payments_are_out_and_nobody_follows(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, state="broadcasting")
        assert await health(connection) == "Healthy"
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(
                "UPDATE transfers SET created_at = now() - interval '2 min' WHERE id = %s", [transfer]
            )
        assert (await reasons(connection))[0].startswith("confirmations: work has been due for")
        await register(connection, worker("confirmations"))
        assert await health(connection) == "Healthy"

    async def test_is_down_where_nobody_serves_the_chain(
        self, connection: Connection, tron: Chain, wallet_due: None
    ) -> None:
        of = await register(connection, worker("gas-topup", blockchain="bsc"))
        assert await reasons(connection) == [
            "gas-topup of tron has been due for a minute, and no worker that lives serves that chain:"
            " start one: flagpost gas-topup --chain tron"
        ]
        assert await health(connection) == "Down"
        await connection.execute("UPDATE worker_registry SET blockchain = 'bsc, tron'")
        assert await health(connection) == "Healthy"
        await heartbeat(connection, of, ended=True, status="stopped")
        assert await health(connection) == "Down"

    async def test_is_degraded_where_all_of_a_type_are_paused(
        self, connection: Connection, alive: Mapping[str, Any], wallet_due: None
    ) -> None:
        await connection.execute("SELECT control_worker(%s, 'pause')", [SLOT])
        await heartbeat(connection, alive, status="paused", observed=1)
        (why,) = await reasons(connection)
        assert why.endswith("and every worker of that type is paused: flagpost workers resume --type gas-topup")
        assert await health(connection) == "Degraded"
        await configure(connection, paused=True)
        assert await reasons(connection) == ["the whole system is paused: flagpost config set paused false"]
        await configure(connection, paused=False)
        await register(connection, worker("gas-topup"))
        assert await health(connection) == "Healthy"

    async def test_is_degraded_where_fewer_live_than_shall(
        self, connection: Connection, alive: Mapping[str, Any]
    ) -> None:
        await connection.execute("INSERT INTO worker_targets (type, workers) VALUES ('gas-topup', 2)")
        assert await health(connection) == "Healthy", "they have a minute"
        await connection.execute("UPDATE worker_targets SET set_at = now() - interval '61 s'")
        assert (await reasons(connection))[0].startswith("gas-topup: 1 of 2 workers live: flagpost host starts them")
        await register(connection, worker("gas-topup"))
        assert await health(connection) == "Healthy"

    async def test_of_a_type_that_is_stopped_and_due_is_to_be_started(
        self, connection: Connection, alive: Mapping[str, Any], wallet_due: None
    ) -> None:
        await connection.execute("SELECT control_worker(%s, 'stop')", [SLOT])
        await heartbeat(connection, alive, status="stopped", observed=1)
        (why,) = await reasons(connection)
        assert why.endswith(f"it was told to stop: flagpost workers start {SLOT}")
        assert why.endswith(str(await value(connection, "SELECT how_to_start('gas-topup', 'tron')")))
        of = await register(connection, worker("gas-topup", blockchain="bsc"))
        await connection.execute("SELECT control_worker('bsc-gas-topup-001', 'stop')")
        await heartbeat(connection, of, status="stopped", observed=1)
        (why,) = await reasons(connection)
        assert why.endswith("they were told to stop: flagpost workers start --type gas-topup")
        assert await value(connection, "SELECT how_to_start('gas-topup', 'bsc')") == why.rpartition("lives: ")[2]
        assert str(await value(connection, "SELECT how_to_start('gas-topup', 'tron')")).endswith(SLOT)

    @pytest.mark.parametrize(
        "role", ["pipeline_readonly", "pipeline_web", "pipeline_executor", "pipeline_confirmations"]
    )
    async def test_is_seen_by(self, connection: Connection, alive: Mapping[str, Any], role: str) -> None:
        await connection.execute(f"SET ROLE {role}".encode())
        for name in ("status/system", "status/workers", "status/jobs", "status/chains"):
            await connection.execute(statement(name))

    async def test_is_paused_apart(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await configure(connection, paused=True)
        assert await rows(connection, SYSTEM) == [
            ("Paused", ["the whole system is paused: flagpost config set paused false"])
        ]

    async def test_is_degraded_where_nobody_leads(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await connection.execute(
            "INSERT INTO leaderships (name, until, renewed_at) VALUES ('sweep', now() - interval '61 s', now())"
        )
        (why,) = await reasons(connection)
        assert why.startswith("nobody has led sweep since")
        assert why.endswith("start one: flagpost sweep")


class TestARealWorker:
    async def test_counts_what_failed(self, connection: Connection, database: str, tron: Chain) -> None:
        wallets = await add_wallets(connection, tron, 12)
        script = Script(answer=lambda job: Failed("no") if job.wallet_id == wallets[0].id else Done(clear_flag=True))
        async with running(executor(script), database) as runtime:
            await flag(connection, *(wallet.id for wallet in wallets))
            await script.until_written(12)
            await beat(runtime)
            stats = await value(connection, "SELECT stats FROM worker_registry")
            assert (stats["recent_attempts"], stats["recent_failed"], stats["held_seconds"]) == (12, 1, 0)
            assert await value(connection, "SELECT health FROM worker_health()") == "healthy"

    async def test_says_how_long_it_holds_a_job(self, connection: Connection, database: str, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        go_on = asyncio.Event()

        async def answer(_: object) -> Done:
            await go_on.wait()
            return Done(clear_flag=True)

        script = Script(answer=answer)
        worker_of = executor(script)
        async with running(worker_of, database):
            await flag(connection, wallet.id)
            await script.until_started(1)
            (job,) = worker_of._jobs.held
            worker_of._jobs.held[job] -= 500
            assert worker_of.stats()["held_seconds"] == 500
            go_on.set()
            await script.until_written(1)


async def test_attempts_are_forgotten_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now, raising=False)
    recent = RecentAttempts()
    for minute in range(30):
        now = 1000.0 + 60 * minute
        recent.note(10, 1)
        assert recent.stats() == {"recent_attempts": 10 * min(minute + 1, 11), "recent_failed": min(minute + 1, 11)}
    now += 601
    assert recent.stats() == {"recent_attempts": 0, "recent_failed": 0}


@pytest.fixture
async def sweep(database: str, connection: Connection, tron: Chain) -> AsyncIterator[None]:
    async with running(Sweep(), database):
        yield


class TestStatus:
    def test_down_without_a_database(self, shell: Shell) -> None:
        shell.env.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        answer = shell("status")
        assert (answer.code, answer.out) == (4, "Down\n")
        assert "does not answer" in answer.err
        answer = shell("status", "--json")
        assert (answer.code, answer.json["health"]) == (4, "Down")

    async def test_healthy(self, shell: Shell, sweep: None, connection: Connection) -> None:
        async with asyncio.timeout(PATIENCE):
            while await health(connection) != "Healthy":  # noqa: ASYNC110 -- nothing signals it
                await asyncio.sleep(0.01)
        answer = await asyncio.to_thread(shell, "status")
        assert answer.code == 0, answer
        assert answer.out.startswith("Healthy\n")
        assert "sweep" in answer.out
        document = (await asyncio.to_thread(shell, "status", "--json")).json
        assert document["health"] == "Healthy"
        assert document["workers"][-2:] == [
            {"type": "sweep", "alive": 1, "wanted": 1, "paused": 0, "stopped": 0, "failing": 0},
            {"type": "sync", "alive": 0, "wanted": 0, "paused": 0, "stopped": 0, "failing": 0},
        ]
        assert document["alerts"] == {"critical": 0, "warning": 0}
        assert [of["job_type"] for of in document["jobs"]] == ["consolidation", "gas-topup"]
        assert [of["chain"] for of in document["chains"]] == ["tron"]

    async def test_degraded_says_what_to_do(
        self, shell: Shell, connection: Connection, alive: Mapping[str, Any]
    ) -> None:
        await heartbeat(connection, alive, stats=Jsonb({"memory_bytes": 501_000_000}))
        answer = await asyncio.to_thread(shell, "status")
        assert answer.code == 3
        assert answer.out.startswith("Degraded\n  → all-gas-topup-001: 501 MB")
        assert "flagpost workers restart all-gas-topup-001" in answer.out

    async def test_alerts_that_are_open(self, shell: Shell, connection: Connection, alive: Mapping[str, Any]) -> None:
        await connection.execute(
            "INSERT INTO alerts (rule, subject, severity, summary, action, raised_at)"
            " VALUES ('r', 's', 'critical', 'wrong', 'mend it', now()), ('r', 'seen once', 'warning', 'w', 'a', NULL)"
        )
        answer = await asyncio.to_thread(shell, "status")
        assert answer.out.endswith("alerts open: 1 critical, 0 warning: flagpost alerts list\n")

    async def test_watch_survives_the_database(
        self, database: str, connection: Connection, alive: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown: asyncio.Queue[str] = asyncio.Queue()

        def draw(_: object, screen: Group, **_refresh: bool) -> None:
            shown.put_nowait(str(screen.renderables[0]))

        monkeypatch.setattr(Live, "update", draw)
        watching = asyncio.create_task(_watch(Settings(database_url=database), 0.01))
        try:
            async with asyncio.timeout(PATIENCE):
                assert await shown.get() == "Healthy"
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE '%status%'"
                )
                while await shown.get() != "Down":
                    pass
                while await shown.get() != "Healthy":
                    pass
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def test_watch_needs_a_terminal(self, shell: Shell) -> None:
        assert "--watch draws on a terminal" in shell.fails("status", "--watch", "2", code=2)
