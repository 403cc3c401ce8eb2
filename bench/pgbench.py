"""Many sessions that write at once: Postgres' own pgbench, because Python would be the slower side."""

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench.children import ChildFailed
from bench.statements import HERE
from pipeline.embedded.binaries import bundled_binaries
from pipeline.local.supervisor import prepare_child

FOR_EVER = 3600.0
PATIENCE = 30.0


async def commits_per_second(
    dsn: str, script: str, clients: int, seconds: float, variables: Mapping[str, int] | None = None
) -> float:
    """What ``clients`` sessions commit that repeat ``bench/<script>.sql``. Raises ChildFailed."""
    async with _pgbench(dsn, script, clients, seconds, variables or {}) as (process, output):
        async with asyncio.timeout(seconds + PATIENCE):
            code = await process.wait()
        said = output.read_text(encoding="utf-8")
        rate = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
        if code or rate is None:
            raise ChildFailed(f"pgbench ended with {code}: {said[-1000:]}")
        return float(rate[1])


@contextlib.asynccontextmanager
async def writers(dsn: str, script: str, clients: int) -> AsyncIterator[None]:
    """``clients`` sessions that repeat ``bench/<script>.sql``. Raises ChildFailed if they stopped."""
    async with _pgbench(dsn, script, clients, FOR_EVER, {}) as (process, output):
        yield
        if process.returncode is not None:
            raise ChildFailed(f"the writers ended with {process.returncode}: {output.read_text('utf-8')[-1000:]}")


@contextlib.asynccontextmanager
async def _pgbench(
    dsn: str, script: str, clients: int, seconds: float, variables: Mapping[str, int]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    argv = [
        str(bundled_binaries() / "pgbench"),
        "--no-vacuum",
        "--protocol=prepared",
        f"--client={clients}",
        f"--jobs={min(clients, os.cpu_count() or 1)}",
        f"--time={max(1, round(seconds))}",
        f"--file={HERE / script}.sql",
        *(f"--define={name}={value}" for name, value in variables.items()),
        dsn,
    ]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *argv, stdout=file, stderr=file, start_new_session=True, preexec_fn=prepare_child
            )
        try:
            yield process, output
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
