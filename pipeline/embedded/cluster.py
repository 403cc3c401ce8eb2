"""What the embedded server has on disk: data directory, sockets, and whatever a killed server left there.

All of it belongs to one home: ``home/postgres/data``, ``home/postgres/server.log``, and the sockets.
"""

import hashlib
import os
import shutil
import signal
import time
from pathlib import Path
from urllib.parse import quote

from pipeline.db.errors import EmbeddedServerError
from pipeline.embedded.binaries import SHARED_STATE, ServerUser, run_as, server_user
from pipeline.settings import Settings

SUPERUSER = "postgres"
DATABASE = "flagpost"
PORT = 5432
"""Only names the socket file; no TCP port is opened."""

LONGEST_SOCKET_PATH = 103
"""Bytes of a Unix socket address, the name of the socket included: 103 on macOS, 107 on Linux."""

GONE_WITHIN = 10.0
"""Seconds for an orphaned server to end."""


def embedded_dsn(home: Path, database: str = DATABASE) -> str:
    """How to reach the embedded server of ``home``, whether it runs or not."""
    sockets = quote(str(socket_directory(home.absolute())), safe="")
    return f"postgresql://{SUPERUSER}@/{database}?host={sockets}&port={PORT}"


def with_database(settings: Settings) -> Settings:
    """``settings`` with a database: DATABASE_URL, or the embedded server of their home, whether it runs or not."""
    if settings.database_url is not None:
        return settings
    return settings.model_copy(update={"database_url": embedded_dsn(settings.home)})


def socket_directory(home: Path) -> Path:
    """Where the sockets of ``home`` are: inside it if the path is short enough, else in a short place.

    As root always in a short place, because the server's account may not be able to enter ``home``. The answer
    depends on nothing that a start changes, so that a process started earlier finds it.
    """
    inside = home / "postgres" / "sockets"
    if os.geteuid() != 0 and len(os.fsencode(inside / f".s.PGSQL.{PORT}.lock")) <= LONGEST_SOCKET_PATH:
        return inside
    run = Path("/run")
    base = run if os.access(run, os.W_OK) else Path("/tmp")  # noqa: S108 - checked by _make_private
    return base / f"flagpost-{os.geteuid()}-{_name_of(home)}"


def _name_of(home: Path) -> str:
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:12]


def prepare_root(home: Path) -> tuple[ServerUser | None, Path]:
    """The server's account and the directory that it can really enter and write.

    That is ``home/postgres``; where root's home is closed to the account it becomes a link to a directory
    under /var/lib.
    """
    root = home / "postgres"
    account = server_user((root / "data") if root.exists() else root)
    if account is None:
        root.chmod(0o700)
        return None, root
    if not root.is_symlink() and not _may_write(root, account):
        if (root / "data").exists():
            raise EmbeddedServerError(f"The account {account.name} can no longer reach {root}: open the path to it")
        elsewhere = SHARED_STATE / f"data-{_name_of(home)}"
        elsewhere.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(root)
        root.symlink_to(elsewhere)
        if not _may_write(root.resolve(), account):
            raise EmbeddedServerError(
                f"The account {account.name} can write neither {root} nor {elsewhere}: "
                "set FLAGPOST_HOME to a directory it can reach"
            )
    return account, root.resolve()


def _may_write(directory: Path, account: ServerUser) -> bool:
    os.chown(directory, account.uid, account.gid)
    return run_as(account, "/bin/sh", "-c", 'cd "$1" && test -w "$1"', "sh", directory).returncode == 0


def initialize(binaries: Path, data: Path, account: ServerUser | None, *, sync: bool = True) -> None:
    """initdb beside the final place and move it there, so that a kill leaves no half a data directory."""
    unfinished = data.with_name("data.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    result = run_as(
        account,
        binaries / "initdb",
        f"--pgdata={unfinished}",
        f"--username={SUPERUSER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        "--no-instructions",
        *(() if sync else ("--no-sync",)),
    )
    if result.returncode != 0:
        raise EmbeddedServerError(f"initdb failed in {unfinished}:\n{result.stdout}{result.stderr}".rstrip())
    unfinished.rename(data)


def check_version(binaries: Path, data: Path, account: ServerUser | None) -> None:
    ours = run_as(account, binaries / "postgres", "--version").stdout.split()[-1].split(".")[0]
    theirs = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
    if ours != theirs:
        raise EmbeddedServerError(
            f"The data in {data} was written by Postgres {theirs}, the installed server is {ours}: install the "
            f"version of Flagpost that wrote it, dump with pg_dump, move {data} away, start this one and restore"
        )


def make_private(directory: Path, account: ServerUser | None) -> None:
    """Create the socket directory; refuse one that somebody else made in a place where everybody may."""
    owner = account.uid if account else os.geteuid()
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.is_symlink() or directory.stat().st_uid not in (owner, os.geteuid()):
        raise EmbeddedServerError(f"The socket directory {directory} belongs to somebody else: remove it")
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    directory.chmod(0o700)


def clear_leftovers(data: Path, sockets: Path) -> None:
    """Deal with the postmaster.pid of a server that was killed.

    Postgres itself takes any live process of that number for a server; in a container, where numbers repeat at every
    start, that is often a wrong one. We hold the supervisor's lock, so a real postmaster here has lost its supervisor.
    """
    lines = postmaster_lines(data)
    if not lines or not lines[0].lstrip("-").isdigit():
        return
    pid = int(lines[0])
    if _is_postmaster_of(pid, data):
        # It has its parent-death signal already; say so again for one that has not, and see it gone.
        deadline = time.monotonic() + GONE_WITHIN
        os.kill(pid, signal.SIGQUIT)
        while _is_postmaster_of(pid, data):
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"An earlier server (process {pid}) still serves {data}: stop it")
            time.sleep(0.005)
    (data / "postmaster.pid").unlink(missing_ok=True)
    (sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def postmaster_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _is_postmaster_of(pid: int, data: Path) -> bool:
    """Whether that process is a Postgres server of this data directory; it works in its data directory."""
    process = Path(f"/proc/{pid}")
    if Path("/proc/self").exists():
        try:
            return (process / "cwd").resolve(strict=True) == data.resolve() and "postgres" in (
                process / "comm"
            ).read_text(encoding="utf-8")
        except OSError:
            return False
    listed = run_as(None, "/bin/ps", "-p", str(pid), "-o", "command=").stdout
    return "postgres" in listed and str(data) in listed
