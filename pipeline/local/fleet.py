"""Real processes for the demo: started without a shell, logged to files, stopped in order.

A process that ends before it was asked to is an error at once, with the last lines it wrote; nobody waits for
a pipeline whose worker is gone.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.local.procfile import Line, Phase
from pipeline.scaling.parent import prepare_child

GRACE_SECONDS = 20.0
"""From SIGTERM to SIGKILL."""
TAIL_LINES = 12


class ProcessEnded(Exception):
    """A process of the fleet ended by itself. Says which, how, and its last words."""


@dataclass(slots=True)
class Member:
    """One running process."""

    line: Line
    process: asyncio.subprocess.Process
    log: Path

    def tail(self) -> str:
        """Its last lines."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


class Fleet:
    """A set of processes that lives as long as the ``async with`` block."""

    def __init__(self, env: dict[str, str], logs: Path) -> None:
        """``logs``: the directory for one log file per process, created when missing."""
        self._env = env
        self._logs = logs
        self._members: list[Member] = []

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for phase in reversed(Phase):
            await self.stop(phase)

    async def start(self, lines: Sequence[Line]) -> None:
        """Start every line; returns at once, before they are ready."""
        for line in lines:
            log = self._logs / f"{line.name}.log"
            with log.open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    *line.argv,
                    env={**self._env, **line.env},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=asyncio.subprocess.STDOUT,
                    # Its own session: Ctrl-C reaches us alone, and we stop them in order.
                    start_new_session=True,
                    preexec_fn=prepare_child,
                )
            self._members.append(Member(line, process, log))

    def check(self) -> None:
        """Raise ProcessEnded if one has ended."""
        for member in self._members:
            code = member.process.returncode
            if code is not None:
                raise ProcessEnded(f"{member.line.name} ended with {code}; its last lines:\n{member.tail()}")

    @property
    def pids(self) -> dict[str, int]:
        """The running processes by name."""
        return {m.line.name: m.process.pid for m in self._members if m.process.returncode is None}

    def names(self, phase: Phase) -> list[str]:
        """Of a phase's processes, in alphabetical order."""
        return sorted(member.line.name for member in self._members if member.line.phase is phase)

    async def kill(self, name: str) -> Line:
        """SIGKILL one process and forget it; its line, to start it again with. Raises KeyError."""
        found = next((member for member in self._members if member.line.name == name), None)
        if found is None:
            raise KeyError(f"no process {name} in the fleet")
        self._members.remove(found)
        _signal(found.process, signal.SIGKILL)
        await found.process.wait()
        return found.line

    async def stop(self, phase: Phase) -> None:
        """SIGTERM to all of a phase, SIGKILL to what is left after the grace; they are no longer checked."""
        members = [member for member in self._members if member.line.phase is phase]
        self._members = [member for member in self._members if member.line.phase is not phase]
        for member in members:
            _signal(member.process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await asyncio.gather(*(member.process.wait() for member in members))
        for member in members:
            if member.process.returncode is None:
                _signal(member.process, signal.SIGKILL)
                await member.process.wait()


def _signal(process: asyncio.subprocess.Process, signum: int) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)
