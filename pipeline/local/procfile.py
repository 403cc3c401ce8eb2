"""What the Procfile launches, and the lines that only local mode adds.

The local lines are not in the Procfile, so that ``honcho start`` in production never starts a
simulated network or an embedded server.
"""

import os
import shlex
import sys
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from pipeline.environment import environment_without_settings
from pipeline.workers.procfile import own_procfile_path, procfile

AGENT = "workers"
"""The line that is the agent of this host."""


class Phase(IntEnum):
    """When a process starts; they stop in the opposite order, so that no worker outlives what it works with."""

    DATABASE = 0
    NODE = 1
    SETUP = 2
    """Runs once, before the workers: schema and first wallets."""
    WORK = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One process of the local mode, named as on the left of a Procfile line."""

    name: str
    command: str
    phase: Phase
    env: dict[str, str] = field(default_factory=dict)

    @property
    def argv(self) -> list[str]:
        """The command split as a shell would, for launching without one."""
        return shlex.split(self.command)


def production_lines() -> list[Line]:
    """The Procfile of the project, as it stands."""
    return [Line(name, command, Phase.WORK) for name, command in procfile().items()]


def agent_line() -> Line:
    """The line that runs those of the Procfile, under the agent of a host."""
    return Line(AGENT, f"flagpost host --procfile {shlex.quote(str(own_procfile_path()))}", Phase.WORK)


def child_environment(home: Path, database_url: str | None, **changes: str) -> dict[str, str]:
    """The environment of a local process: ours, with this interpreter's ``flagpost`` first on the path.

    Whatever FLAGPOST_* or .env say about production (mnemonic, treasury, nodes, keys) is left out.
    """
    kept = environment_without_settings()
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept |= {"PYTHONUNBUFFERED": "1", "FLAGPOST_ENV_FILE": os.devnull, "FLAGPOST_HOME": str(home)}
    if database_url is not None:
        kept["DATABASE_URL"] = database_url
    return kept | changes
