"""What a payment costs with everything that is written for it: top-ups of one gas wallet, and consolidations.

    python -m bench.payments tron|evm [--wallets 200] [--json]

Everything between a raised flag and a completed job, on a real Postgres, against the simulated TRON network or a local
anvil (`npm ci` in tests/clients), by the steps of the workers without their loops. For each payment: µs of CPU of the
process that pays and settles, the same of Postgres, and the blocks of 8 kB that Postgres found in its buffers or read.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import psutil
from loguru import logger
from psycopg import AsyncConnection

from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection, Pool, pool_of
from pipeline.devnet.client import DevnetClient
from pipeline.embedded.server import EmbeddedServer
from pipeline.queue.jobs import JobType, Parked
from tests.chains.provider.evm_network import evm_network
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.conftest import temporary_home
from tests.seed import TRX, USDT

AT_ONCE = 50
"""Jobs claimed together."""
SETTINGS = {"autovacuum": "off", "checkpoint_timeout": "1h"}


@dataclass(frozen=True)
class Stand:
    """A chain with our wallets, and what makes all that was sent final."""

    world: World
    desk_of: Callable[[Pool, Pool], Desk]
    coin: int
    """For one consolidation, native raw units."""
    finalize: Callable[[], Awaitable[object]]


async def main(family: str, wallets: int) -> dict[str, object]:
    """By kind of payment, each for one payment."""
    with temporary_home() as home, EmbeddedServer(home, settings=SETTINGS) as server:
        await migrate(server.dsn)
        async with await AsyncConnection.connect(server.dsn, autocommit=True) as connection:
            await connection.execute("DELETE FROM asset_on_chain")
            await connection.execute("DELETE FROM chains")
            async with STANDS[family](connection) as stand:
                report: dict[str, object] = {"family": family, "wallets": wallets}
                for kind in (JobType.GAS_TOPUP, JobType.CONSOLIDATION):
                    report[kind.value] = await _pay(stand, kind, wallets, server)
                await stand.world.assert_database_equals_chain()
                return report


async def _pay(stand: Stand, kind: JobType, wallets: int, server: EmbeddedServer) -> dict[str, float]:
    world, is_gas = stand.world, kind is JobType.GAS_TOPUP
    made = [await world.wallet(usdt=300 * USDT, trx=0 if is_gas else stand.coin) for _ in range(wallets)]
    await stand.finalize()
    ids = [wallet.id for wallet in made]
    used = await _used(world.connection, server.pid)
    async with (
        pool_of(server.dsn, "bench", role="pipeline_executor") as pool,
        pool_of(server.dsn, "bench", role="pipeline_confirmations") as confirming,
    ):
        desk = stand.desk_of(pool, confirming)
        await desk.settlement.round()
        await world.connection.execute(
            "UPDATE wallets SET needs_gas = %s, needs_consolidation = %s WHERE id = ANY (%s)", [is_gas, not is_gas, ids]
        )
        sent = 0
        while jobs := await desk.queue.enqueue_and_claim(kind, AT_ONCE):
            outcomes = await desk.run(kind, jobs)
            if any(outcome != Parked() for _, outcome in outcomes):
                raise RuntimeError(f"not all were sent: {outcomes}")
            sent += len(outcomes)
            await desk.settle()
        await desk.close()
    found = "SELECT count(*) AS n FROM job_logs WHERE status = 'completed' AND job_type = %s"
    completed = (await world.row(found, kind.value))["n"]
    if not completed == sent == wallets:
        raise RuntimeError(f"{completed} jobs completed, {sent} sent, of {wallets}")
    after = await _used(world.connection, server.pid)
    return {name: round((after[name] - used[name]) / wallets, 1) for name in after}


async def _used(connection: Connection, postmaster: int) -> dict[str, float]:
    """So far. Sessions count what they touched for all to read when they end."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    while (await (await connection.execute(others)).fetchone() or (0,))[0]:
        await asyncio.sleep(0.02)
    await connection.execute("SELECT pg_stat_force_next_flush()")
    blocks = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
    row = await (await connection.execute(blocks)).fetchone() or (0,)
    server = psutil.Process(postmaster)
    live = sum(sum(child.cpu_times()[:2]) for child in server.children())
    return {
        "payer_us": time.process_time() * 1e6,
        "postgres_us": (sum(server.cpu_times()[:4]) + live) * 1e6,  # with children that have ended
        "blocks": float(row[0]),
    }


@asynccontextmanager
async def _tron(connection: Connection) -> AsyncIterator[Stand]:
    """The network in a process of its own, so that what it costs is not counted."""
    command = (sys.executable, "-m", "pipeline.devnet", "--block-time", "0", "--solid-lag", "2", "--die-with-parent")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        if process.stdout is None:
            raise RuntimeError("the network says its URL on its output")
        url = (await process.stdout.readline()).decode().strip()
        async with DevnetClient(url) as devnet:
            world = await World.create(connection, devnet)
            yield Stand(world, lambda pool, confirming: Desk(world, pool, confirming), 50 * TRX, devnet.solidify)
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _evm(connection: Connection) -> AsyncIterator[Stand]:
    async with evm_network() as network:
        world = await EvmWorld.found(connection, network)
        yield Stand(world, lambda pool, confirming: EvmDesk(world, pool, confirming), FINNEY, network.finalize)


STANDS: dict[str, Callable[[Connection], AbstractAsyncContextManager[Stand]]] = {"tron": _tron, "evm": _evm}


def cli() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("family", choices=STANDS)
    parser.add_argument("--wallets", type=int, default=200, help="of each kind (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one line, for bench/versions.py")
    options = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    report = asyncio.run(main(options.family, options.wallets))
    print(json.dumps(report, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(cli())
