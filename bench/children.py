"""Child processes that say what they measured in lines of JSON, and that never outlive us."""

import asyncio
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from pipeline.local.supervisor import prepare_child

STOPPED_WITHIN = 15.0
"""Seconds from SIGTERM to SIGKILL."""
LONGEST_LINE = 64 * 1024 * 1024
"""Bytes; a report is one line."""


class ChildFailed(Exception):
    """A child ended too early, or did not say in time what was expected of it. Holds its last words."""


class Child:
    """One running process. Each line of its output is a JSON object: ``{"ready": …}``, ``{"report": …}``."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, errors: IO[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a child is spoken to through pipes")
        self.name = name
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._errors = errors

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """User and system time so far, threads included."""
        return float(sum(psutil.Process(self.pid).cpu_times()[:2]))

    def tell(self, line: str) -> None:
        """Write a line to its input."""
        self._stdin.write(f"{line}\n".encode())

    async def expect(self, key: str, within: float) -> Any:
        """The value of the next line with ``key``; other lines are passed over. Raises ChildFailed."""
        deadline = time.monotonic() + within
        while True:
            said = await self.next_line(deadline - time.monotonic())
            if key in said:
                return said[key]

    async def next_line(self, within: float) -> dict[str, Any]:
        """The next line. Raises ChildFailed when it ends or says nothing in time."""
        try:
            async with asyncio.timeout(max(0.0, within)):
                line = await self._stdout.readline()
        except TimeoutError:
            raise ChildFailed(f"{self.name} said nothing in time; {self._last_words()}") from None
        if not line:
            code = await self._process.wait()
            raise ChildFailed(f"{self.name} ended with {code}; {self._last_words()}")
        said: dict[str, Any] = json.loads(line)
        return said

    async def ended(self, within: float) -> None:
        """Wait for its end by itself. Raises ChildFailed when that does not come in time, or is a failure."""
        try:
            async with asyncio.timeout(within):
                code = await self._process.wait()
        except TimeoutError:
            raise ChildFailed(f"{self.name} did not end in time; {self._last_words()}") from None
        if code:
            raise ChildFailed(f"{self.name} ended with {code}; {self._last_words()}")

    async def stop(self, key: str = "report", within: float = STOPPED_WITHIN) -> Any:
        """SIGTERM; what it reports before it ends."""
        self._process.send_signal(signal.SIGTERM)
        return await self.expect(key, within)

    async def kill(self) -> None:
        """Make sure that it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._errors.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip()
        return words[-2000:] or "it wrote no error"


@contextlib.asynccontextmanager
async def child(
    argv: Sequence[str], name: str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """A child that lives as long as the block at most."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        limit=LONGEST_LINE,
        start_new_session=True,
        preexec_fn=prepare_child,
    )
    running = Child(process, name, errors)
    try:
        yield running
    finally:
        await running.kill()


async def run(
    argv: Sequence[str],
    name: str,
    key: str,
    within: float,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Any:
    """Run a child to its end; what it said under ``key``. Raises ChildFailed."""
    async with child(argv, name, cwd=cwd, env=env) as running:
        said = await running.expect(key, within)
        await running.ended(STOPPED_WITHIN)
        return said
