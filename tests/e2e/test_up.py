"""`flagpost up`: a person can follow one deposit to the treasury, stop it, and go on the next day."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from pipeline.chains.values import Family
from pipeline.keys.derivation import TREASURY_INDEX
from pipeline.local.anvil import AnvilNetwork, find_anvil
from pipeline.local.home import LocalHome
from pipeline.local.network import LocalNetwork
from pipeline.local.networks import NO_ANVIL
from pipeline.local.tron import TronNetwork
from tests.e2e.running import Running, flagpost, processes_of, until, wait_until_gone
from tests.seed import FIRST_USER_INDEX

ARGUMENTS = ["up", "--chains", "tron", "--every", "1", "--wallets", "3", "--seed", "7"]


def usdt(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def test_the_story_of_a_deposit_a_clean_stop_and_a_second_start(clean_env, home):
    with Running(ARGUMENTS, clean_env) as up:
        up.line("setup .*3 customers' wallets, new here")
        deposit = up.line(r"customers .*deposit +([\d,.]+) USDT → (T\w+)")
        wallet = deposit[2]
        up.line(rf"flags .*{wallet} needs gas, then consolidation")
        up.line(rf"gas-topup .*{wallet} ← [\d.]+ TRX")
        up.line(rf"confirmations .*settled gas {wallet}")
        up.line(rf"consolidation .*{wallet} → [\d.]+ USDT")
        first = up.line(r"treasury .*│ ([\d,.]+) USDT \(\+")
        assert usdt(first[1]) >= usdt(deposit[1])
        assert up.stop(signal.SIGINT) == 0
    assert processes_of(home) == {}
    ends = [line for line in up.lines if "│ stopped" in line or "Postgres has stopped" in line]
    assert len(ends) == 6
    assert "Postgres has stopped" in ends[-1]  # after every worker
    assert not re.search("ERROR|Traceback", up.said)

    with Running(ARGUMENTS, clean_env) as again:
        again.line("setup .*3 customers' wallets, from the last start")
        total = again.line(r"treasury .*│ ([\d,.]+) USDT")
        assert usdt(total[1]) >= usdt(first[1])
        again.line(r"treasury .*USDT \(\+")
        assert again.stop(signal.SIGTERM) == 0
    assert processes_of(home) == {}


def test_one_home_is_run_by_one_up_and_its_sudden_death_takes_all_with_it(clean_env, home):
    with Running(ARGUMENTS, clean_env) as up:
        up.line(r"customers .*deposit")
        with Running(ARGUMENTS, clean_env) as second:
            assert second.wait() == 1
        assert "runs already" in second.said
        up.process.kill()
        wait_until_gone(home)


def test_with_a_database_url_that_server_is_used_and_none_is_started(clean_env, home, empty_database):
    with Running(ARGUMENTS, clean_env | {"DATABASE_URL": empty_database}) as up:
        up.line("setup .*3 customers' wallets, new here")
        up.line(r"treasury .*USDT \(\+")
        assert up.stop(signal.SIGINT) == 0
    assert "Postgres is ready" not in up.said
    assert not (home / "postgres").exists()
    with psycopg.connect(empty_database) as connection:
        (paid,) = connection.execute("SELECT count(*) FROM transfers WHERE state = 'final'").fetchone()
    assert paid >= 1


def process_of(home: Path, command: str) -> int | None:
    """The pid of the process whose command line ends so."""
    return next((pid for pid, line in processes_of(home).items() if re.search(rf"flagpost {command}$", line)), None)


def test_a_worker_that_dies_is_started_again_and_the_rest_goes_on(clean_env, home):
    with Running(ARGUMENTS, clean_env) as up:
        up.line(r"gas-topup .*ready")
        pid = process_of(home, "gas-topup")
        os.kill(pid, signal.SIGKILL)
        up.line(r"workers .*gas-topup-001 ended \(signal SIGKILL\); started again")
        until(lambda: process_of(home, "gas-topup") not in (None, pid), "another process")
        up.line(r"confirmations .*settled gas")
        assert up.stop(signal.SIGINT) == 0
    assert processes_of(home) == {}


def test_a_line_that_dies_stops_the_rest_and_names_itself(clean_env, home):
    with Running(ARGUMENTS, clean_env) as up:
        up.line(r"gas-topup .*ready")
        os.kill(process_of(home, r"host --procfile \S+"), signal.SIGKILL)
        up.line(r"workers ended \(signal SIGKILL\); stopping the rest")
        assert up.wait() == 1
    assert processes_of(home) == {}


def test_bsc_runs_beside_tron_and_goes_on_the_next_day(clean_env, home):
    if find_anvil() is None:
        pytest.skip(NO_ANVIL)
    arguments = ["up", "--every", "1", "--wallets", "3"]
    with Running(arguments, clean_env) as up:
        up.line("setup .*tron: 3 customers' wallets, new here")
        up.line("setup .*bsc: 3 customers' wallets, new here")
        deposit = up.line(r"customers .*deposit +[\d,.]+ USDT → (0x\w+)")
        up.line(rf"gas-topup .*{deposit[1]} ← [\d.]+ BNB")
        up.line(rf"consolidation .*{deposit[1]} → [\d.]+ USDT")
        up.line(r"treasury .*tron [\d,.]+ USDT \(\+")
        first = up.line(r"treasury .*bsc ([\d,.]+) USDT \(\+")
        doctor = flagpost(["doctor"], clean_env)
        assert doctor.returncode == 0, doctor.stdout
        assert "all is well" in doctor.stdout, doctor.stdout
        assert up.stop(signal.SIGINT) == 0
    assert processes_of(home) == {}
    assert not re.search("ERROR|Traceback", up.said)

    with Running(arguments, clean_env) as again:
        again.line("setup .*bsc: 3 customers' wallets, from the last start")
        total = again.line(r"treasury .*bsc ([\d,.]+) USDT$")
        assert usdt(total[1]) >= usdt(first[1])
        again.line(r"treasury .*bsc [\d,.]+ USDT \(\+")
        assert again.stop(signal.SIGTERM) == 0
    assert processes_of(home) == {}
    assert not re.search("ERROR|Traceback", again.said)


def test_killed_at_any_moment_both_chains_go_on_where_they_stopped(clean_env, home):
    """SIGKILL of all processes at once: nodes, database, workers. What customers paid ends in the treasuries, once."""
    if find_anvil() is None:
        pytest.skip(NO_ANVIL)
    arguments = ["up", "--wallets", "3", "--every"]
    for moment in (r"gas-topup .*0x\w+ ← [\d.]+ BNB", r"consolidation .*0x\w+ → [\d.]+ USDT"):
        with Running([*arguments, "0.5"], clean_env) as up:
            up.line(r"customers .*deposit +[\d,.]+ USDT → T\w+")
            up.line(moment)
            kill_all(home)
        wait_until_gone(home)

    with Running([*arguments, "3600"], clean_env) as again:
        again.line("setup .*tron: 3 customers' wallets, from the last start")
        again.line("setup .*bsc: 3 customers' wallets, from the last start")
        for network in (TronNetwork(node_url(home, "devnet")), AnvilNetwork(node_url(home, "anvil"))):
            again.line(rf"customers .*deposit +[\d,.]+ USDT → {'T' if network.family is Family.TRON else '0x'}")
            until(lambda network=network: asyncio.run(all_collected(network, home)), f"all of {network.chain}", 60)
        assert again.stop(signal.SIGINT) == 0
    assert processes_of(home) == {}


def kill_all(home: Path) -> None:
    for pid in processes_of(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def node_url(home: Path, network: str) -> str:
    return f"http://127.0.0.1:{LocalHome(home).path.joinpath(f'{network}.port').read_text('utf-8').strip()}"


async def all_collected(network: LocalNetwork, home: Path) -> bool:
    """Whether the treasury has what the customers' wallets were ever paid, by the chain itself. Fails if more."""
    branch = LocalHome(home).branch(network.family)
    wallets = {branch.address(FIRST_USER_INDEX + number) for number in range(3)}
    moves = [move for move in await network.movements() if move.contract is not None]
    await network.close()
    paid = sum(move.amount for move in moves if move.receiver in wallets)
    collected = sum(move.amount for move in moves if move.sender in wallets)
    assert collected <= paid
    assert {move.receiver for move in moves if move.sender in wallets} <= {branch.address(TREASURY_INDEX)}
    return 0 < collected == paid


def test_without_anvil_tron_runs_alone_and_one_line_says_so(clean_env, home, tmp_path):
    code = "import pipeline.local.anvil as a, pathlib; a._CLIENTS = pathlib.Path('/nowhere'); " + (
        "from pipeline.cli.main import run; import sys; sys.argv = ['flagpost', 'up', '--wallets', '1']; run()"
    )
    env = clean_env | {"PATH": str(tmp_path)}
    with Running([sys.executable, "-c", code], env, program=None) as up:
        up.line("BSC is not played: no anvil here")
        up.line("setup .*tron: 1 customers' wallets, new here")
        assert up.stop(signal.SIGINT) == 0
    assert "bsc:" not in up.said
