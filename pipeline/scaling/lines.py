"""What the lines of a host's Procfile are: workers of ours, whose number can be changed, and everything else.

The agent of a host runs only what stands here. A worker's line is started without a shell, as often as it has slots;
any other line is started once, by a shell as Honcho does it.
"""

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

WORKER_TYPES = frozenset({"sync", "deposits", "gas-topup", "consolidation", "sweep", "confirmations"})
"""Of ``worker_types`` those of which there may be any number."""
PROGRAM = "flagpost"
AGENT = "host"

_SHELL = frozenset("|&;<>()$`\\\n*?[]#~")
"""A line with one of these means what a shell makes of it."""
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


class ProcfileError(Exception):
    """The Procfile cannot be run by the agent of a host; the message names the line and the remedy."""


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A line that starts a worker."""

    name: str
    """On the left of the line."""
    type: str
    """As in ``worker_types``."""
    blockchain: str
    """The chains it serves, by name, with commas; empty: all."""
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the line sets before the command."""


@dataclass(frozen=True, slots=True)
class OtherLine:
    """A line that starts something else."""

    name: str
    command: str
    """For a shell."""


def read_lines(
    commands: Mapping[str, str], only: Collection[str] = ()
) -> tuple[Sequence[WorkerLine], Sequence[OtherLine]]:
    """The lines by what they are. ``commands``: by name; ``only``: no others than workers of these types. Raises
    ProcfileError for a line that starts an agent, two lines for the same work, and a type that has no line."""
    workers: list[WorkerLine] = []
    others: list[OtherLine] = []
    for name, command in commands.items():
        line = _read(name, command)
        if isinstance(line, OtherLine):
            others.append(line)
        else:
            workers.append(line)
    missing = sorted(set(only) - {line.type for line in workers})
    if missing:
        has = ", ".join(sorted({line.type for line in workers})) or "none"
        raise ProcfileError(f"the Procfile has no line for {', '.join(missing)}; it has workers of type: {has}")
    if only:
        workers, others = [line for line in workers if line.type in only], []
    _refuse_twice(workers)
    return workers, others


def _read(name: str, command: str) -> WorkerLine | OtherLine:
    words = [] if _SHELL & set(command) else _words(name, command)
    environment = dict(word.split("=", 1) for word in _assignments(words))
    argv = words[len(environment) :]
    if len(argv) < 2 or PurePath(argv[0]).name != PROGRAM:
        return OtherLine(name, command)
    if argv[1] == AGENT:
        raise ProcfileError(
            f"the line {name!r} starts an agent, and the agent of a host does not run itself: "
            "give it a file with workers only, flagpost host --procfile FILE"
        )
    if argv[1] not in WORKER_TYPES:
        return OtherLine(name, command)
    chains = sorted(set(_chains(argv[2:])))
    return WorkerLine(name, argv[1], ",".join(chains), tuple(argv), environment)


def _words(name: str, command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ProcfileError(f"the line {name!r} cannot be read: {error}") from None


def _assignments(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if not _ASSIGNMENT.match(word):
            return
        yield word


def _chains(options: Sequence[str]) -> Iterator[str]:
    for place, option in enumerate(options):
        if option == "--chain" and place + 1 < len(options):
            yield options[place + 1]
        elif option.startswith("--chain="):
            yield option.removeprefix("--chain=")


def _refuse_twice(workers: Iterable[WorkerLine]) -> None:
    known: dict[tuple[str, str], str] = {}
    for line in workers:
        first = known.setdefault((line.type, line.blockchain), line.name)
        if first != line.name:
            raise ProcfileError(
                f"the lines {first!r} and {line.name!r} do the same work: keep one, and say how many there shall be "
                f"with flagpost workers scale {line.type} 2"
            )
