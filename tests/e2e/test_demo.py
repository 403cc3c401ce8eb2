"""`flagpost demo`: exact or not, it says so in its exit code and in one line of JSON."""

import json
import signal

import psycopg
import pytest

from pipeline.local.anvil import find_anvil
from pipeline.local.networks import NO_ANVIL
from tests.e2e.running import Running, flagpost, processes_of, until

SHAPE = {
    "wallets": int,
    "deposits": int,
    "deposited": str,
    "treasury_received": str,
    "gas_topups": int,
    "consolidations": int,
    "double_payments": int,
    "jobs_completed": int,
    "jobs_failed": int,
    "average_seconds": float,
    "missed_events_swept": int,
    "node_faults": int,
    "seconds": float,
    "latency_ms": dict,
    "decimals": int,
    "chains": dict,
}


def report_of(finished) -> dict:
    report = json.loads(finished.stdout.strip().splitlines()[-1])
    # Of no job there is no average.
    average = {"average_seconds": float if report["jobs_completed"] else type(None)}
    assert {name: type(value) for name, value in report.items()} == SHAPE | average
    assert set(report["latency_ms"]["flag_to_start"]) == {"p50", "p99"}
    return report


def check_exact(finished, deposits: int) -> dict:
    assert finished.returncode == 0, finished.stderr
    report = report_of(finished)
    assert report["deposits"] == deposits
    assert int(report["deposited"]) >= deposits * 201_000_000
    assert report["treasury_received"] == report["deposited"]
    assert (report["double_payments"], report["jobs_failed"]) == (0, 0)
    assert report["consolidations"] > 0
    assert report["gas_topups"] > 0
    assert report["jobs_completed"] >= report["gas_topups"] + report["consolidations"]
    assert 0 < report["average_seconds"] < report["seconds"]
    return report


@pytest.fixture
def demo_databases(server_dsn: str):
    """Databases of demos on the test server."""

    def count() -> list[str]:
        with psycopg.connect(server_dsn) as admin:
            rows = admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'flagpost_demo_%'").fetchall()
        return [name for (name,) in rows]

    return count


def test_with_its_own_server_the_treasury_receives_what_is_due(clean_env):
    finished = flagpost(
        ["demo", "--wallets", "5", "--deposits", "8", "--json", "--timeout", "60", "--block-time", "0.5"],
        clean_env,
    )
    report = check_exact(finished, 8)
    assert finished.stdout.count("\n") == 1
    assert finished.stderr == ""
    assert report["missed_events_swept"] == 0
    assert report["latency_ms"]["flag_to_start"]["p50"] > 0


def test_without_any_notify_the_sweep_alone_brings_the_same_result(clean_env, server_dsn, demo_databases):
    finished = flagpost(
        ["demo", "--wallets", "5", "--deposits", "8", "--json", "--lossy-notify", "--block-time", "0.5"],
        clean_env | {"DATABASE_URL": server_dsn},
        patience=120,
    )
    report = check_exact(finished, 8)
    assert report["missed_events_swept"] > 0
    assert demo_databases() == []


@pytest.mark.parametrize("mode", [[], ["--lossy-notify"], ["--faults"]], ids=["notify", "deaf", "faults"])
def test_two_chains_at_once_are_each_exact(clean_env, server_dsn, mode):
    if find_anvil() is None:
        pytest.skip(NO_ANVIL)
    finished = flagpost(
        ["demo", "--chains", "tron,bsc", "--wallets", "4", "--deposits", "6", "--json", "--block-time", "0.5", *mode],
        clean_env | {"DATABASE_URL": server_dsn},
        patience=120,
    )
    report = check_exact(finished, 12)
    assert set(report["chains"]) == {"tron", "bsc"}
    assert (report["node_faults"] > 0) == ("--faults" in mode)
    for chain in report["chains"].values():
        assert chain["deposited"] == chain["treasury_received"] != "0"
        assert (chain["double_payments"], chain["jobs_failed"]) == (0, 0)
        assert chain["consolidations"] > 0
    assert (report["decimals"], report["chains"]["tron"]["decimals"]) == (18, 6)
    parts = [int(chain["deposited"]) * 10 ** (18 - chain["decimals"]) for chain in report["chains"].values()]
    assert int(report["deposited"]) == sum(parts)


def test_workers_that_are_killed_while_deposits_arrive_lose_nothing(clean_env, server_dsn):
    killing = ["--spread", "4", "--kill-every", "1", "--instances", "2"]
    finished = flagpost(
        ["demo", "--wallets", "4", "--deposits", "6", "--json", "--block-time", "0.5", *killing],
        clean_env | {"DATABASE_URL": server_dsn},
        patience=120,
    )
    assert check_exact(finished, 6)["seconds"] > 3


def test_a_chain_that_cannot_be_played_is_a_usage_error(clean_env):
    finished = flagpost(["demo", "--chains", "tron,dogecoin"], clean_env)
    assert finished.returncode == 2
    assert "dogecoin cannot run here" in finished.stderr


def test_two_of_each_process_pay_nothing_twice(clean_env, server_dsn):
    finished = flagpost(
        ["demo", "--wallets", "6", "--deposits", "12", "--json", "--instances", "2", "--gas-policy", "on_demand"],
        clean_env | {"DATABASE_URL": server_dsn},
        patience=120,
    )
    check_exact(finished, 12)


def test_when_the_time_is_up_the_exit_code_says_so(clean_env, server_dsn, demo_databases):
    finished = flagpost(
        ["demo", "--wallets", "2", "--deposits", "2", "--json", "--timeout", "1"],
        clean_env | {"DATABASE_URL": server_dsn},
    )
    assert finished.returncode == 1
    assert report_of(finished)["treasury_received"] == "0"
    assert "not everything had settled when" in finished.stderr
    assert demo_databases() == []


def test_ctrl_c_stops_everything_and_drops_its_database(clean_env, home, server_dsn, demo_databases):
    env = clean_env | {"DATABASE_URL": server_dsn, "TMPDIR": str(home)}
    with Running(["demo", "--wallets", "2", "--deposits", "500"], env) as demo:
        working = until(lambda: list(home.glob("flagpost-demo-*/logs/sweep.1.log")), "workers started")
        assert processes_of(working[0].parents[1])
        assert demo.stop(signal.SIGINT) == 130
    assert "interrupted" in demo.said
    assert processes_of(working[0].parents[1]) == {}
    assert list(home.glob("flagpost-demo-*")) == []
    assert demo_databases() == []
