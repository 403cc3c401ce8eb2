"""Workers under a plain launcher, controlled from the command line: what is stopped waits in its slot, and begins anew
there, in the same process."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.conftest import environment
from tests.e2e.running import Running, flagpost
from tests.patience import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOT = "all-sweep-001"


@pytest.fixture
def env(stand) -> Mapping[str, str]:
    with psycopg.connect(stand.dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM worker_registry")
    return environment(stand)


@pytest.fixture
def sweep(env) -> Iterator[Running]:
    with Running(["sweep"], env) as process:
        process.line("ready as all-sweep-001")
        yield process


def told(env: Mapping[str, str], *words: str) -> dict[str, Any]:
    """Of the only worker, once it has obeyed."""
    done = flagpost(["workers", *words, "--json"], env)
    assert done.returncode == 0, done.stderr
    (worker,) = json.loads(done.stdout)["workers"]
    assert worker["obeys"], worker
    return worker


async def test_stop_start_and_restart_keep_process_and_slot(env, sweep):
    pid = sweep.process.pid
    stopped = told(env, "stop", SLOT)
    assert (stopped["status"], stopped["slot"]) == ("stopped", SLOT)
    sweep.line("waits for: flagpost workers start all-sweep-001")
    assert told(env, "list")["pid"] == pid, "it is parked, not gone"
    started = told(env, "start", SLOT)
    assert (started["status"], started["pid"]) == ("running", pid)
    restarted = told(env, "restart", SLOT)
    assert (restarted["status"], restarted["pid"], restarted["slot"]) == ("running", pid, SLOT)
    sweep.line("told to restart: hands back what it holds")
    paused = told(env, "pause", "--type", "sweep")
    assert paused["status"] == "paused"
    assert told(env, "resume", "--all")["status"] == "running"
    assert sweep.stop(signal.SIGTERM) == 0, sweep.said


async def test_a_signal_ends_a_parked_process(env, sweep):
    told(env, "stop", SLOT)
    sweep.line("waits for: flagpost workers start")
    assert sweep.stop(signal.SIGTERM) == 0, sweep.said


async def test_what_is_stopped_is_stopped_for_the_next_process_too(env, sweep):
    told(env, "stop", SLOT)
    sweep.line("waits for: flagpost workers start")
    assert sweep.stop(signal.SIGINT) == 0
    with Running(["sweep"], env) as following:
        following.line("waits for: flagpost workers start all-sweep-001")
        told(env, "start", SLOT)
        following.line("ready as all-sweep-001")
        assert following.stop() == 0


async def test_a_mnemonic_out_of_a_pipe_is_left_to_the_launcher(env, stand, tmp_path: Path):
    """Who reads it a second time waits for ever."""
    pipe = tmp_path / "mnemonic"
    os.mkfifo(pipe)
    slot = "all-gas-topup-001"
    words = stand.home.mnemonic_file.read_text(encoding="utf-8")
    with Running(["gas-topup"], {**env, "FLAGPOST_MNEMONIC_FILE": str(pipe)}) as process:
        threading.Thread(target=pipe.write_text, args=[words], daemon=True).start()
        process.line("which cannot be read again: told to stop or restart, it ends with exit code 75")
        process.line(f"ready as {slot}")
        assert flagpost(["workers", "restart", slot, "--no-wait"], env).returncode == 0
        process.line(f"ends with exit code 75, for its launcher to start it again in slot {slot}")
        assert process.wait() == 75, process.said
    with Running(["gas-topup"], {**env, "FLAGPOST_MNEMONIC_FILE": str(pipe), "FLAGPOST_SLOT": slot}) as following:
        threading.Thread(target=pipe.write_text, args=[words], daemon=True).start()
        following.line(f"ready as {slot}")
        assert following.stop() == 0


async def test_what_is_paused_is_paused_after_its_process_was_killed(env, sweep):
    """It is started again while its slot is not free yet: in another one, and paused there."""
    told(env, "pause", SLOT)
    sweep.process.kill()
    sweep.wait()
    with Running(["sweep"], env) as following:
        following.line(r"ready as all-sweep-002 \(paused\)")
        refused = flagpost(["workers", "resume", SLOT], env)
        assert refused.returncode == 1
        assert "flagpost workers resume all-sweep-002" in refused.stderr
        done = flagpost(["workers", "resume", "all-sweep-002"], env)
        assert done.returncode == 0, done.stderr
        assert following.stop() == 0


async def test_that_the_next_process_of_an_agent_waits_for_a_mnemonic_is_said(env, stand, tmp_path: Path):
    pipe = tmp_path / "mnemonic"
    os.mkfifo(pipe)
    words = stand.home.mnemonic_file.read_text(encoding="utf-8")
    with Running(["gas-topup"], {**env, "FLAGPOST_MNEMONIC_FILE": str(pipe), "FLAGPOST_MANAGED_BY": "here"}) as process:
        threading.Thread(target=pipe.write_text, args=[words], daemon=True).start()
        process.line("the next one waits until somebody writes the words there once more")


async def test_honcho_goes_on(env, tmp_path: Path):
    """It ends all lines when one of them ends."""
    (tmp_path / "Procfile").write_text("one: flagpost sweep\nother: flagpost sweep\n")
    honcho = str(Path(sys.executable).with_name("honcho"))
    paths = {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "PYTHONUNBUFFERED": "1"}
    with Running(
        [honcho, "--procfile", str(tmp_path / "Procfile"), "start"], {**env, **paths}, program=None
    ) as launcher:
        launcher.line("ready as all-sweep-001")
        launcher.line("ready as all-sweep-002")
        assert told(env, "stop", SLOT)["status"] == "stopped"
        launcher.line("waits for: flagpost workers start all-sweep-001")
        assert told(env, "start", SLOT)["status"] == "running"
        assert launcher.process.poll() is None
        assert launcher.stop(signal.SIGINT) in (0, 130)


async def test_without_process_or_agent_the_command_is_named(env, sweep):
    sweep.process.kill()
    sweep.wait()
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("UPDATE worker_registry SET last_heartbeat = now() - interval '2 minutes'")
    refused = flagpost(["workers", "start", SLOT], env)
    assert refused.returncode == 1
    assert "no process has the slot all-sweep-001" in refused.stderr
    assert "flagpost sweep" in refused.stderr


async def test_a_start_is_taken_at_any_moment(env, sweep):
    """Told in the moment in which the stopped process begins anew, too."""
    told(env, "stop", SLOT)
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as connection:
        began = time.monotonic()
        connection.execute("SELECT control_worker(%s, 'start')", [SLOT])
        query = "SELECT status FROM worker_registry WHERE id = %s AND observed_generation = generation"
        while connection.execute(query, [SLOT]).fetchall() != [("running",)]:
            assert time.monotonic() - began < PATIENCE
