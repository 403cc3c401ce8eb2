"""What processes use while somebody watches them."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from bench.stand import Server


@dataclass(frozen=True)
class Spent:
    """Over one look."""

    memory: Mapping[str, float]
    """Resident, by process, at the end; MB (10^6 bytes)."""
    processes: float
    """Time of the processors, all of them together; ms a second."""
    server: float
    """The same of Postgres."""


async def watched(pids: Mapping[str, int], server: Server, seconds: float) -> Spent:
    """Look at these processes and at the server for a while."""
    processes = {name: psutil.Process(pid) for name, pid in pids.items()}
    before, server_before = _cpu(processes), server.cpu_seconds()
    await asyncio.sleep(seconds)
    return Spent(
        {name: process.memory_info().rss / 1e6 for name, process in processes.items()},
        (_cpu(processes) - before) / seconds * 1000,
        (server.cpu_seconds() - server_before) / seconds * 1000,
    )


def cpu_of_tree(process: psutil.Process) -> float:
    """Seconds that a process and those of its children that live now have used."""
    return sum(map(_cpu_of_one, [process, *process.children(recursive=True)]))


def _cpu_of_one(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:2]))
    return 0.0


def _cpu(processes: Mapping[str, psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in processes.values()))
