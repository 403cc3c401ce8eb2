"""Worker processes of a trial: started, killed at their crash points, started again."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(eq=False)
class Process:
    """One worker process."""

    kind: str
    pid: int
    status: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Exit code, negative for the signal that killed it."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Zygote:
    """The forking process. ``async with Zygote() as zygote``."""

    def __init__(self, namespace: Path | None = None) -> None:
        """``namespace``: the network namespace that it and its workers live in."""
        self._namespace = namespace
        self._starting = asyncio.Lock()
        self._started: asyncio.Queue[int] = asyncio.Queue()
        self._running: dict[int, Process] = {}
        self._ended: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.zygote",
            *(() if self._namespace is None else (str(self._namespace),)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        await self._child.wait()
        await self._reading

    async def start(self, kind: str, env: Mapping[str, str], log: Path) -> Process:
        """Fork a worker."""
        async with self._starting:
            assert self._child.stdin is not None
            order = {"kind": kind, "env": dict(env), "log": str(log)}
            self._child.stdin.write(json.dumps(order).encode() + b"\n")
            await self._child.stdin.drain()
            process = Process(kind, await self._started.get())
            self._running[process.pid] = process
            if process.pid in self._ended:
                self._end(process.pid, self._ended.pop(process.pid))
            return process

    async def _read(self) -> None:
        assert self._child.stdout is not None
        async for line in self._child.stdout:
            said = json.loads(line)
            if "started" in said:
                self._started.put_nowait(said["started"])
            else:
                self._end(said["ended"], said["status"])

    def _end(self, pid: int, status: int) -> None:
        process = self._running.pop(pid, None)
        if process is None:
            self._ended[pid] = status
        elif not process.status.done():
            process.status.set_result(status)
