"""Each line of the Procfile by itself: it starts, says when it cannot work yet and why, and ends when asked."""

import json
import signal

import psycopg
import pytest

from pipeline.devnet.faults import FaultKind
from pipeline.local.procfile import production_lines
from tests.e2e.conftest import environment
from tests.e2e.running import Running, flagpost

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINES = {line.name: line.argv[1:] for line in production_lines()}


def registered(dsn: str, worker_type: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT status FROM worker_registry WHERE type = %s", [worker_type]).fetchall()
    return sorted(status for (status,) in rows)


@pytest.mark.parametrize("name", LINES)
async def test_a_line_runs_alone_and_twice_and_stops(stand, name):
    env = environment(stand)
    with Running(LINES[name], env) as first, Running(LINES[name], env) as second:
        first.line("ready as")
        second.line("ready as")
        assert registered(stand.dsn, name) == ["running", "running"]
        assert first.stop(signal.SIGTERM) == 0, first.said
        assert second.stop(signal.SIGINT) == 0
    assert registered(stand.dsn, name) == ["stopped", "stopped"]


async def test_doctor_finds_nothing_to_repair(stand):
    finished = flagpost(["doctor", "--json"], environment(stand))
    report = json.loads(finished.stdout)
    # The server of the tests loses commits in a crash, on purpose (tests/conftest.py).
    failed = [check for check in report["checks"] if check["level"] == "fail"]
    assert {check["check"] for check in failed} <= {"database.durability"}, failed
    assert finished.returncode == (1 if failed else 0)
    checks = {check["check"]: check for check in report["checks"]}
    assert checks["notify"]["level"] == "ok"
    assert checks["tron.node"]["message"].startswith(stand.client.url)
    assert "`threshold` would now send 5 TRX to 6 of 6 wallets: 30 TRX" in checks["tron.threshold"]["message"]


@pytest.mark.parametrize("name", ["sync", "gas-topup", "consolidation", "confirmations"])
async def test_a_node_of_another_network_is_refused(stand, other_network, name):
    with Running(LINES[name], environment(stand, FLAGPOST_NODES_TRON=other_network)) as worker:
        worker.line("network|genesis")
        assert other_network in worker.said
        worker.stop()


async def test_doctor_names_the_wrong_node(stand, other_network):
    finished = flagpost(["doctor"], environment(stand, FLAGPOST_NODES_TRON=other_network))
    assert finished.returncode == 1
    assert "✗" in finished.stdout
    assert other_network in finished.stdout
    assert "→ give this chain a node of its own network" in finished.stdout


async def test_a_node_that_answers_html_is_waited_for(stand):
    await stand.client.add_fault(FaultKind.HTML, "*", status=502)
    try:
        with Running(LINES["confirmations"], environment(stand)) as worker:
            worker.line("no node of tron answers.*502|502")
            await stand.client.clear_faults()
            worker.line("ready as")
            worker.stop()
    finally:
        await stand.client.clear_faults()


@pytest.mark.parametrize("name", ["gas-topup", "consolidation"])
@pytest.mark.parametrize(
    ("variable", "words", "message"),
    [
        ("FLAGPOST_MNEMONIC", "abandon " * 11 + "abandon", "checksum is wrong"),
        ("FLAGPOST_MNEMONIC", "correct horse battery staple", "has 4 words"),
        ("FLAGPOST_MNEMONIC_FILE", "/nowhere/mnemonic", "No mnemonic: set FLAGPOST_MNEMONIC"),
    ],
)
async def test_who_signs_does_not_start_without_a_good_mnemonic(stand, name, variable, words, message):
    finished = flagpost(LINES[name], environment(stand, **{variable: words}))
    assert finished.returncode == 1
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "battery" not in finished.stderr


async def test_a_line_that_starts_before_its_database_waits_for_it(clean_env, home):
    with Running(LINES["sync"], clean_env) as sync:
        sync.line("does not answer")
        with Running(["db", "start"], clean_env) as server:
            server.line("Postgres is ready")
            sync.line("has no Flagpost schema: run flagpost migrate")
            assert flagpost(["migrate"], clean_env).returncode == 0
            sync.line("ready as")
            assert sync.stop() == 0
            assert server.stop() == 0
