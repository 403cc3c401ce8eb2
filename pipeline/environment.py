"""What a process hands on to those that it starts: variables of its environment, and the programs beside its own."""

import os
import sys
from pathlib import Path


def environment_without_settings() -> dict[str, str]:
    """What a process hands on to one that gets settings of its own: neither DATABASE_URL nor FLAGPOST_*, but the log's
    level. A simulated network must never meet a real mnemonic."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and (not name.startswith("FLAGPOST_") or name == "FLAGPOST_LOG_LEVEL")
    }


def environment_of_slot(slot: str | None) -> dict[str, str]:
    """What a process hands on to the one that takes its place, and its slot."""
    return dict(os.environ) | ({"FLAGPOST_SLOT": slot} if slot else {})


def environment_of_child(**more: str) -> dict[str, str]:
    """The variables of this process and ``more``, for a program that takes secrets from there: what stands on a command
    line everybody on the machine can read."""
    return dict(os.environ) | more


def program_beside(name: str) -> str:
    """The program of that name that was installed with this interpreter; ``name`` where there is none, for the search
    path to find."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name
