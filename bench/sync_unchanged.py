"""What it costs to read a balance again that did not change: time of the server and of the sync, and WAL.

    python -m bench.sync_unchanged [--wallets 10000] [--interval 5] [--passes 6] [--json]

The real command `flagpost sync` as a process of its own, against anvil, on a real Postgres; two balances a wallet,
which nobody moves. Every balance is read once in each interval (`chains.sync_interval`); the first reading does not
count. How many were read is what the process says with its heartbeats. Needs anvil: `npm ci` in tests/clients.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil

from bench.consumption import cpu_of_tree
from bench.evm_stand import ASSETS, Stand, stand
from bench.sync_memory import balances_read, sync_process
from tests.db.worker_kit import configure

BLOCK_SECONDS = 1.0
HEARTBEAT_SECONDS = 0.5
FIRST_READ_WITHIN = 300.0


@dataclass(frozen=True)
class Sample:
    """So far."""

    read: int
    """Balances, at the last heartbeat."""
    wal: int
    """Bytes."""
    server: float
    """CPU seconds."""
    sync: float


async def measure(wallets: int, interval: float, passes: int) -> dict[str, Any]:
    """Microseconds and bytes for each balance that is read again."""
    async with stand(wallets) as place:
        await configure(place.connection, heartbeat_seconds=HEARTBEAT_SECONDS)
        await place.connection.execute("UPDATE chains SET sync_interval = %s", [timedelta(seconds=interval)])
        async with sync_process(place) as process:
            deadline = time.monotonic() + FIRST_READ_WITHIN
            while await balances_read(place) < wallets * ASSETS:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not every balance was read within {FIRST_READ_WITHIN:g} s")
                await next_block(place)
            before = await at_heartbeat(place, process)
            end = time.monotonic() + interval * passes
            while time.monotonic() < end:
                await next_block(place)
            after = await at_heartbeat(place, process)
    read = after.read - before.read
    if read < wallets * ASSETS * (passes - 1):
        raise RuntimeError(f"{read} balances were read in {passes} passes over {wallets * ASSETS}")
    return {
        "balances": wallets * ASSETS,
        "interval": interval,
        "read_again": read,
        "server_us": round((after.server - before.server) / read * 1e6, 2),
        "sync_us": round((after.sync - before.sync) / read * 1e6, 2),
        "wal_bytes": round((after.wal - before.wal) / read, 1),
    }


async def next_block(place: Stand) -> None:
    """Balances are those of a new block each time."""
    await asyncio.sleep(BLOCK_SECONDS)
    await place.node.mine()


async def at_heartbeat(place: Stand, process: psutil.Process) -> Sample:
    """The counts right after the next heartbeat that says that more were read."""
    known = await balances_read(place)
    while (read := await balances_read(place)) == known:
        await asyncio.sleep(HEARTBEAT_SECONDS / 10)
    cursor = await place.connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    (wal,) = await cursor.fetchone() or (0,)
    return Sample(read, wal, cpu_of_tree(place.postmaster), float(sum(process.cpu_times()[:2])))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wallets", type=int, default=10_000, help="two balances each (default %(default)s)")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two reads (default %(default)g)")
    parser.add_argument("--passes", type=int, default=6, help="over all balances, that count (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    if options.wallets < 1 or options.interval <= 0 or options.passes < 2:
        parser.error("--wallets and --interval must be positive, --passes at least 2")
    report = asyncio.run(measure(options.wallets, options.interval, options.passes))
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:<24}{value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
