"""Memory of a process `flagpost sync` with many wallets, and what it asks of the node for each.

    python -m bench.sync_memory [--wallets 100000] [--balances N] [--json]

The real command as a process of its own, against anvil, on a real Postgres; two balances a wallet, all of them read
once (`--balances`: so many of them, half by themselves and half with their pages, where a million would take minutes).
Resident memory is read from outside, several times a second, its peak from the kernel. Calls are counted by a proxy
before the node. The aim is 120 MB at 1,000,000 wallets. Needs anvil: `npm ci` in tests/clients.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from psycopg.rows import dict_row

from bench.evm_stand import ASSETS, Stand, stand
from pipeline.local.procfile import child_environment
from tests.chains.evm.proxy import OddNode
from tests.db.worker_kit import configure

MEGABYTE = 1e6
SAMPLE_SECONDS = 0.2
AIM_MB = 120
FIRST_PAGES = """
INSERT INTO sync_pages (asset_on_chain_id, last_id)
SELECT id, 'ffffffff-ffff-ffff-ffff-ffffffffffff' FROM asset_on_chain
"""
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


async def measure(wallets: int, balances: int) -> dict[str, Any]:
    async with stand(wallets) as place, OddNode.before(place.node.url) as proxy:
        await place.reach_by(proxy.url)
        await configure(place.connection, heartbeat_seconds=1)
        if balances < wallets * ASSETS:
            # Half of them by themselves, as new ones are, the others with their pages.
            await place.connection.execute("UPDATE wallet_balances SET next_check_at = NULL, recheck = false")
            await place.vacuum()
            await place.make_due(balances // 2)
            await place.connection.execute(FIRST_PAGES)
        started = time.monotonic()
        async with sync_process(place) as process:
            rss = []
            while (read := await balances_read(place)) < balances:
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    raise RuntimeError("the sync ended by itself")
                rss.append(process.memory_info().rss)
                await asyncio.sleep(SAMPLE_SECONDS)
            seconds = time.monotonic() - started
            calls = Counter(proxy.methods)
            rss.append(process.memory_info().rss)
            peak = peak_bytes(process.pid)
        per_wallet = sum(calls.values()) / (read / ASSETS)
    return {
        "wallets": wallets,
        "balances_read": read,
        "seconds": round(seconds, 1),
        "rss_mb_first": round(rss[0] / MEGABYTE, 1),
        "rss_mb_last": round(rss[-1] / MEGABYTE, 1),
        "peak_mb": round(peak / MEGABYTE, 1),
        "aim_mb": AIM_MB,
        "node_calls": dict(calls),
        "node_calls_per_wallet": round(per_wallet, 5),
    }


@asynccontextmanager
async def sync_process(place: Stand) -> AsyncIterator[psutil.Process]:
    """`flagpost sync`, from its registration on."""
    environment = child_environment(place.home, place.dsn, FLAGPOST_LOG_LEVEL="WARNING")
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("flagpost"), "sync", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while not await _registered(place):
                await asyncio.sleep(SAMPLE_SECONDS)
        yield psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def peak_bytes(pid: int) -> int:
    """The most that a process ever had resident, from the kernel (Linux)."""
    found = _PEAK.search(Path(f"/proc/{pid}/status").read_text("ascii"))
    if found is None:
        raise RuntimeError("the kernel tells no peak")
    return int(found[1]) * 1024


async def balances_read(place: Stand) -> int:
    """As the process says with each heartbeat."""
    cursor = place.connection.cursor(row_factory=dict_row)
    await cursor.execute("SELECT coalesce((stats ->> 'read')::bigint, 0) AS read FROM worker_registry")
    return sum(row["read"] for row in await cursor.fetchall())


async def _registered(place: Stand) -> bool:
    return bool(await (await place.connection.execute("SELECT FROM worker_registry")).fetchall())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wallets", type=int, default=100_000, help="two balances each (default %(default)s)")
    parser.add_argument("--balances", type=int, help="how many are read (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    everything = options.wallets * ASSETS
    balances = min(options.balances or everything, everything)
    if options.wallets < 1 or balances < 1:
        parser.error("--wallets and --balances must be positive")
    report = asyncio.run(measure(options.wallets, balances))
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:<24}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
