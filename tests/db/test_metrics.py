"""What Prometheus reads of workers: each scrape is a real one, over HTTP."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.chains.rpc.calls import NodeCalls, methods_of
from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from pipeline.metrics.endpoint import Endpoint
from pipeline.metrics.jobs import ended_so_far
from pipeline.metrics.system import MEASURES
from pipeline.queue.jobs import Done, Failed, JobType
from pipeline.workers.runtime import Runtime
from pipeline.workers.sweep import Sweep
from tests.db.sessions import rows
from tests.db.worker_kit import PATIENCE, Script, executor, flag, running, until_count
from tests.logs import logged
from tests.seed import Chain, add_wallets

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]
HOST = "127.0.0.1"


async def scrape(runtime: Runtime) -> Samples:
    """Values by the name of the sample, with their labels."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://{HOST}:{runtime.registration.port}/metrics") as answer,
    ):
        assert answer.status == 200
        text = await answer.text()
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def of(samples: Samples, sample: str, **labels: str) -> float:
    """The value of the sample with these labels."""
    (found,) = [one for has, one in samples[sample] if labels.items() <= has.items()]
    return found


async def test_an_executor(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 5)
    before = ended_so_far()
    script = Script(answer=lambda job: Failed("no") if job.wallet_id == wallets[0].id else Done(clear_flag=True))
    async with running(executor(script), database, endpoint=Endpoint(HOST, 0)) as runtime:
        served = await rows(connection, "SELECT port, config ->> 'metrics_host' FROM worker_registry")
        assert served == [(runtime.registration.port, HOST)]
        await flag(connection, *(wallet.id for wallet in wallets))
        await script.until_written(5)
        samples = await scrape(runtime)
    for outcome, count in (("done", 4), ("failed", 1)):
        key = ("gas-topup", outcome)
        assert of(samples, "flagpost_jobs_total", type="gas-topup", outcome=outcome) == before.get(key, 0) + count
    assert of(samples, "flagpost_worker_info", slot="all-gas-topup-001", type="gas-topup") == 1
    assert of(samples, "flagpost_worker_paused") == 0
    assert of(samples, "flagpost_listening") == 1
    assert of(samples, "flagpost_pool_size") >= 1
    assert of(samples, "flagpost_pool_requests_total") > 0
    assert of(samples, "flagpost_notifications_total", channel="wallet_flags") >= 1
    assert of(samples, "flagpost_job_execution_seconds_count", type="gas-topup") >= 5
    assert of(samples, "flagpost_job_waiting_seconds_count", type="gas-topup") >= 1
    assert of(samples, "flagpost_worker_stat", name="recent_failed") == 1
    assert of(samples, "process_resident_memory_bytes") > 1e7
    assert "flagpost_system_health" not in samples, "that is the sweep's"


async def test_the_sweep_that_leads_says_how_the_whole_is(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES ('one', 'gas-topup', 'pending', %s)",
        [wallet.address],
    )
    async with running(first := Sweep(), database, endpoint=Endpoint(HOST, 0)) as leading:
        async with asyncio.timeout(PATIENCE):
            await first.acting.wait()
        samples = await scrape(leading)
        async with running(Sweep(), database, endpoint=Endpoint(HOST, 0)) as standing_by:
            assert "flagpost_system_health" not in await scrape(standing_by), "each figure once"
    names = {measure.name for measure in MEASURES}
    without_rows = {
        "flagpost_payments_out",
        "flagpost_payments_out_age_seconds",
        "flagpost_chain_behind_seconds",
        "flagpost_flagged_wallets",
        "flagpost_alerts_open",
    }
    assert names - without_rows <= set(samples)
    assert of(samples, "flagpost_jobs_live", type="gas-topup", state="waiting") == 1
    assert of(samples, "flagpost_work_due", type="gas-topup") == 1
    assert of(samples, "flagpost_workers_live", type="gas-topup") == 0
    for job_type in ("gas-topup", "consolidation"):
        assert of(samples, "flagpost_jobs_failed", type=job_type, chain="tron") == 0
        for status in ("completed", "failed", "cancelled"):
            assert of(samples, "flagpost_jobs_ended", type=job_type, status=status, chain="tron") == 0
    assert of(samples, "flagpost_workers", type="sweep", health="healthy") == 1
    assert of(samples, "flagpost_gas_budget_ratio", chain="tron", budget="gas_max_per_day") == 0
    assert of(samples, "flagpost_measuring_errors_total") == 0


async def test_the_outcomes_of_attempts_are_there_before_the_first(
    connection: Connection, database: str, tron: Chain
) -> None:
    """Of a series that begins with its first count Prometheus sees no increase."""
    async with running(executor(Script(), JobType.CONSOLIDATION), database, endpoint=Endpoint(HOST, 0)) as runtime:
        samples = await scrape(runtime)
    outcomes = {labels["outcome"] for labels, _ in samples["flagpost_jobs_total"] if labels["type"] == "consolidation"}
    assert outcomes == {"done", "parked", "retry", "defer", "failed", "lost"}


async def test_jobs_that_failed_are_those_of_the_hour_that_nobody_retried(connection: Connection, tron: Chain) -> None:
    """And on a chain that was switched off, too."""
    wallets = await add_wallets(connection, tron, 3)
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address, error_message, completed_at)"
        " SELECT w.address, 'gas-topup', 'failed', w.address, 'no',"
        " now() - interval '61 minutes' * (w.id = %s)::integer FROM wallets w WHERE w.id = ANY (%s)",
        [wallets[0].id, [wallet.id for wallet in wallets]],
    )
    failed = statement("metrics/failed")
    both = [("consolidation", "tron", 0), ("gas-topup", "tron", 2)]
    assert sorted(await rows(connection, failed)) == both
    await connection.execute("UPDATE chains SET is_active = false")
    assert await rows(connection, failed) == both[1:]
    await connection.execute("UPDATE chains SET is_active = true WHERE name = 'tron'")
    await connection.execute("SELECT * FROM retry_failed_jobs('gas-topup', 10, NULL)")
    assert sorted(await rows(connection, failed)) == [*both[:1], ("gas-topup", "tron", 0)]


async def test_every_statement_gives_its_columns(connection: Connection, database: str, tron: Chain) -> None:
    """Also those that gave no row above."""
    await connection.execute("SET ROLE pipeline_executor")
    for name in {measure.statement for measure in MEASURES}:
        async with connection.cursor() as cursor:
            await cursor.execute(statement(f"metrics/{name}"))
            assert cursor.description is not None
            columns = {column.name for column in cursor.description}
        wanted = {
            column
            for measure in MEASURES
            if measure.statement == name
            for column in (*measure.labels, f"value_{measure.column}")
        }
        assert columns == wanted, name


async def test_a_database_that_is_away_leaves_the_last_answers(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.metrics.system.KEPT_SECONDS", 0.0)
    async with running(sweep := Sweep(), database, endpoint=Endpoint(HOST, 0)) as runtime:
        async with asyncio.timeout(PATIENCE):
            await sweep.acting.wait()
        assert of(await scrape(runtime), "flagpost_workers", type="sweep", health="healthy") == 1
        await connection.execute("ALTER FUNCTION due_work() RENAME TO due_work_away")
        try:
            samples = await scrape(runtime)
        finally:
            await connection.execute("ALTER FUNCTION due_work_away() RENAME TO due_work")
        assert of(samples, "flagpost_work_due", type="gas-topup") == 0
        assert of(samples, "flagpost_measuring_errors_total") >= 1


async def test_a_port_that_is_taken_leaves_the_next_one(connection: Connection, database: str, tron: Chain) -> None:
    async with running(executor(Script()), database, endpoint=Endpoint(HOST, 0)) as first:
        port = first.registration.port
        assert port is not None
        async with running(executor(Script()), database, endpoint=Endpoint(HOST, port)) as second:
            assert second.registration.port is not None
            assert port < second.registration.port < port + 100
            assert of(await scrape(second), "flagpost_worker_info", slot="all-gas-topup-002") == 1


async def test_a_worker_without_a_port_works(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.metrics.endpoint.PORTS", 1)
    (wallet,) = await add_wallets(connection, tron, 1)
    async with running(executor(Script()), database, endpoint=Endpoint(HOST, 0)) as first:
        script = Script()
        taken = Endpoint(HOST, first.registration.port or 0)
        async with running(executor(script), database, endpoint=taken) as second:
            assert second.registration.port is None
            await connection.execute("SELECT control_worker(%s, 'pause')", [first.registration.slot])
            await until_count(connection, "SELECT count(*) FROM worker_registry WHERE status = 'paused'", 1)
            await flag(connection, wallet.id)
            await script.until_written(1)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.0.2.1", "FLAGPOST_METRICS_HOST: 192.0.2.1 is no address of this host"),
        ("nowhere.invalid", "FLAGPOST_METRICS_HOST: nowhere.invalid is no address of this host"),
        (HOST, "FLAGPOST_METRICS_PORT: every port from {port} to {port} of 127.0.0.1 is taken"),
    ],
)
async def test_it_is_said_why_no_metrics_are_served(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setattr("pipeline.metrics.endpoint.PORTS", 1)
    async with running(executor(Script()), database, endpoint=Endpoint(HOST, 0)) as first:
        port = first.registration.port or 0
        with logged() as lines:
            async with running(executor(Script()), database, endpoint=Endpoint(address, port)) as second:
                assert second.registration.port is None
        assert f"WARNING {said.format(port=port)}: no metrics are served" in lines


async def test_health_for_a_container_runtime(connection: Connection, database: str, tron: Chain) -> None:
    async with running(executor(Script()), database, endpoint=Endpoint(HOST, 0)) as runtime:
        url = f"http://{HOST}:{runtime.registration.port}/health"
        async with aiohttp.ClientSession() as http:
            async with http.get(url) as answer:
                assert (answer.status, await answer.json()) == (200, {"healthy": True, "reason": None})
                assert (await answer.text()).endswith("}\n"), "a terminal shows it as a line of its own"
            runtime.ready.clear()
            async with http.get(url) as answer:
                assert answer.status == 503
                assert "does not begin to work" in (await answer.json())["reason"]
            runtime.ready.set()


class TestCallsToNodes:
    def test_are_told_apart_by_method_and_result(self) -> None:
        calls = NodeCalls()
        body: list[Any] = [{"method": "eth_call"}, {"method": "eth_call"}, {"method": "eth_blockNumber"}]
        calls.note("https://one", methods_of("", body), "answered", 0.5)
        calls.note("https://one", methods_of("wallet/getblock", {"detail": True}), "timeout", 10.0)
        assert calls.calls == {
            ("https://one", "eth_call", "answered"): 2,
            ("https://one", "eth_blockNumber", "answered"): 1,
            ("https://one", "wallet/getblock", "timeout"): 1,
        }
        assert (calls.requests["https://one"], calls.seconds["https://one"]) == (2, 10.5)

    def test_are_not_told_apart_without_end(self) -> None:
        calls = NodeCalls()
        for number in range(5_000):
            calls.note("https://one", [f"method-{number}"], "answered", 0.0)
        assert len(calls.calls) == 2_000
        assert calls.requests["https://one"] == 5_000
