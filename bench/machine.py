"""On what, and of what: the machine and the versions, so that figures can be held against each other later."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench.contestants import BENCH, ROOT, Contestant, node_binary

LIBRARIES = ("psycopg", "psycopg-binary", "psycopg-pool", "uvloop")


def machine() -> dict[str, str]:
    """What the figures depend on, for people."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 1024**3:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load at the start": load,
    }


def versions(postgres: str, taking_part: Sequence[Contestant]) -> dict[str, str]:
    """Of everything that was measured, as it is installed or locked."""
    found = {"flagpost": _commit(), "postgres": postgres, "python": platform.python_version()}
    found |= _locked(ROOT / "requirements.lock", LIBRARIES)
    names = {contestant.name.split(" ")[0] for contestant in taking_part}
    for name in sorted(names):
        found |= _locked(BENCH / "peers" / name / "requirements.lock", (name, "asyncpg"))
        manifest = BENCH / "peers" / "node_modules" / name / "package.json"
        if manifest.exists():
            found[name] = json.loads(manifest.read_text(encoding="utf-8"))["version"]
            found["node"] = _said([str(node_binary()), "--version"]).lstrip("v")
    return found


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """With a plus when the tree differs from it."""
    commit = _said(["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"])
    changed = _said(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return f"{commit or 'unknown'}{'+' if changed else ''}"


def _said(argv: Sequence[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except OSError:
        return ""


def _locked(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The versions of some packages in a lock file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pins = (line.split(" ")[0].partition("==") for line in lines if "==" in line and not line.startswith((" ", "#")))
    return {name: version for name, _, version in pins if name in names}
