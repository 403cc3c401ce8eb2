"""One process of a host: started, its output passed on, ended in order.

    running ──(SIGTERM)──▶ ending ──▶ ended
                              └──(20 s)──(SIGKILL)──▶ ended

It leads a process group of its own, so that Ctrl-C reaches the agent alone, and what a shell has started ends with it.
It does not outlive the agent.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from loguru import logger

from pipeline.scaling.output import Lines, Output
from pipeline.scaling.parent import prepare_child

KILL_SECONDS = 20.0
"""From SIGTERM to SIGKILL: more than a worker takes to hand back its jobs (10 s at the most)."""
LAST_LINES = 3
OUTPUT_SECONDS = 1.0
"""How long the output is read once the process has ended: somebody else may have it open, too."""


class Child:
    """One process. ``await Child.start(…)``."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        output: Output,
        ended: Callable[[], None],
        *,
        kill_seconds: float = KILL_SECONDS,
    ) -> None:
        self.name = name
        """The slot, or the name of the line."""
        self.pid = process.pid
        self.began = time.monotonic()
        self.ending = False
        """Whether it was sent a SIGTERM from here."""
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process = process
        self._output = output
        self._kill_seconds = kill_seconds
        self._kill: asyncio.TimerHandle | None = None
        self._life = asyncio.create_task(self._live(ended), name=f"process {name}")

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        output: Output,
        ended: Callable[[], None],
        *,
        kill_seconds: float = KILL_SECONDS,
    ) -> Self:
        """Start it; ``ended`` is called once it has ended; ``kill_seconds``: from its SIGTERM to its SIGKILL. Raises
        OSError where the program cannot be started."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=prepare_child,
            start_new_session=True,
        )
        return cls(name, process, output, ended, kill_seconds=kill_seconds)

    @property
    def alive(self) -> bool:
        """Whether its end has not been seen yet."""
        return not self._life.done()

    @property
    def returncode(self) -> int:
        """As subprocess has it: negative for a signal. Only once it has ended."""
        code = self._process.returncode
        return 1 if code is None else code

    def end(self) -> None:
        """Ask it to end, and kill it where it does not. Safe to call twice: a second SIGTERM would kill a worker."""
        if self.ending or not self.alive:
            return
        self.ending = True
        self._send(signal.SIGTERM)
        self._kill = asyncio.get_running_loop().call_later(self._kill_seconds, self._send, signal.SIGKILL)

    async def wait(self) -> None:
        """Until it has ended."""
        await asyncio.wait({self._life})

    async def _live(self, ended: Callable[[], None]) -> None:
        reading = asyncio.create_task(self._read())
        try:
            await self._process.wait()
            await asyncio.wait({reading}, timeout=OUTPUT_SECONDS)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            if self._kill is not None:
                self._kill.cancel()
            asyncio.get_running_loop().call_soon(ended)

    async def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - for the type checker
        lines = Lines()
        while data := await stream.read(65_536):
            self._say(lines.feed(data))
        self._say(lines.rest())

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line.strip():
                self.last_lines.append(line.strip())
            self._output.write(self.name, line)

    def _send(self, signum: signal.Signals) -> None:
        if signum is signal.SIGKILL:
            logger.error("host: {} did not end within {:.0f} s: killing it", self.name, self._kill_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signum)


def described(code: int) -> str:
    """How a process ended, for people."""
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
