"""Top-ups from one gas wallet against a local anvil: pipelined, and waiting for each receipt, in one run.

    python -m bench.evm_topups [--wallets 500] [--block-seconds 1] [--json]

Pipelined: the whole money room on a real Postgres (intent, nonce, signed bytes and broadcast each committed), until
every payment is final and every job completed. Full blocks are those that were made while there was more to send: all
but the first and the last. One by one: our provider alone, the next payment after the receipt of the one before, as
most scripts do it. CPU is in milliseconds a top-up, of this process, of Postgres and of the node. Needs anvil: `npm ci`
in tests/clients.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator

import psutil
from loguru import logger
from psycopg import AsyncConnection

from bench.consumption import cpu_of_tree
from pipeline.chains.rpc.http import Clock
from pipeline.chains.values import Family, Finality, Payment
from pipeline.db.migrate import migrate
from pipeline.db.pool import pool_of
from pipeline.embedded.server import EmbeddedServer
from pipeline.keys.derivation import TREASURY_INDEX
from pipeline.payments.send.gas_topups import GasTopups
from pipeline.queue.jobs import JobType, Parked
from pipeline.signing.keyring import Keyring
from tests.building import build
from tests.chains.provider.evm_network import EvmNetwork, evm_network
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.chaos.world import MNEMONIC
from tests.conftest import temporary_home

ONE_BY_ONE = 10
"""Enough for a rate: it is one a block."""


async def main(wallets: int, block_seconds: float) -> dict[str, object]:
    with temporary_home() as home, EmbeddedServer(home) as server:
        await migrate(server.dsn)
        async with (
            evm_network() as network,
            await AsyncConnection.connect(server.dsn, autocommit=True) as connection,
            pool_of(server.dsn, "bench", role="pipeline_executor") as pool,
            pool_of(server.dsn, "bench", role="pipeline_confirmations") as confirming,
        ):
            await connection.execute("DELETE FROM asset_on_chain")
            await connection.execute("DELETE FROM chains")
            world = await EvmWorld.found(connection, network)
            desk = EvmDesk(world, pool, confirming, clock=Clock(), url=network.node.url)
            try:
                async with blocks(network, block_seconds):
                    cpu = Cpu(server.pid, network.node.pid)
                    pipelined = await money_room(world, desk, wallets, block_seconds)
                    pipelined |= cpu.milliseconds(wallets)
                    waiting = await one_by_one(world, desk)
            finally:
                await desk.close()
            await world.assert_database_equals_chain()
    times = pipelined["median_in_full_blocks"] / waiting["per_block"]
    return {
        "wallets": wallets,
        "block_seconds": block_seconds,
        "pipelined": pipelined,
        "one_by_one": waiting,
        "times_faster_per_block": round(times, 1),
    }


class Cpu:
    """CPU used from now on."""

    def __init__(self, postmaster: int, node: int) -> None:
        self._processes = {"postgres": psutil.Process(postmaster), "node": psutil.Process(node)}
        self._before = self._used()

    def milliseconds(self, payments: int) -> dict[str, float]:
        """For each payment."""
        after = self._used()
        return {f"cpu_ms_{name}": round((after[name] - self._before[name]) / payments * 1e3, 2) for name in after}

    def _used(self) -> dict[str, float]:
        own = {"payer": time.process_time()}
        return own | {name: cpu_of_tree(process) for name, process in self._processes.items()}


async def money_room(world: EvmWorld, desk: EvmDesk, wallets: int, block_seconds: float) -> dict[str, float]:
    for _ in range(wallets):
        await world.wallet()
    await world.connection.execute("UPDATE wallets SET needs_gas = true")
    await desk.settlement.round()
    handler = GasTopups({world.chain_id: desk.sender})
    started = time.perf_counter()
    sent = 0
    while jobs := await desk.queue.enqueue_and_claim(JobType.GAS_TOPUP, 200):
        outcomes = [pair async for pair in handler.handle(jobs)]
        if any(outcome != Parked() for _, outcome in outcomes):
            raise RuntimeError(f"not all were sent: {outcomes}")
        await desk.queue.finish(outcomes)
        sent += len(outcomes)
    sending = time.perf_counter() - started
    while await desk.settlement.round():
        await asyncio.sleep(block_seconds / 4)
    settled = time.perf_counter() - started
    row = await world.row("SELECT count(*) AS n FROM job_logs WHERE status = 'completed'")
    if not row["n"] == sent == wallets:
        raise RuntimeError(f"{row['n']} jobs completed, {sent} sent")
    per_block = Counter(one.block for one in await world.paid_gas())
    full = [per_block[number] for number in sorted(per_block)[1:-1]] or [*per_block.values()]
    return {
        "sent_per_second": round(sent / sending, 1),
        "seconds_until_all_final": round(settled, 2),
        "blocks": len(per_block),
        "most_in_one_block": max(per_block.values()),
        "median_in_full_blocks": statistics.median(full),
        "mean_in_full_blocks": round(statistics.mean(full), 1),
        "least_in_full_blocks": min(full),
    }


async def one_by_one(world: EvmWorld, desk: EvmDesk) -> dict[str, float]:
    provider, signer = desk.real_provider, Keyring(MNEMONIC)
    sender = signer.address(Family.EVM, TREASURY_INDEX)
    await world.network.fund(sender, 10 * FINNEY)
    while not await world.network.truth(sender, world.network.coin, final=True):
        await asyncio.sleep(0.05)
    started, first = time.perf_counter(), await world.network.node.height()
    for wallet in world.wallets[:ONE_BY_ONE]:
        payment = Payment(sender, wallet.address, world.network.coin, FINNEY // 10)
        nonce = (await provider.sender_nonces(sender)).latest  # type: ignore[attr-defined]
        unsigned = await build(provider, payment, await provider.estimate(payment), 0, nonce)
        signed = provider.codec.attach(unsigned, signer.sign(Family.EVM, TREASURY_INDEX, unsigned.digest))
        await provider.broadcast(signed)
        while await provider.find(signed.txid, Finality.HEAD) is None:
            await asyncio.sleep(0.01)
    seconds, blocks_passed = time.perf_counter() - started, await world.network.node.height() - first
    return {
        "paid": ONE_BY_ONE,
        "per_second": round(ONE_BY_ONE / seconds, 2),
        "per_block": round(ONE_BY_ONE / max(1, blocks_passed), 2),
    }


@contextlib.asynccontextmanager
async def blocks(network: EvmNetwork, seconds: float) -> AsyncIterator[None]:
    """One every so many seconds."""

    async def mine() -> None:
        while True:
            await asyncio.sleep(seconds)
            await network.mine()

    mining = asyncio.create_task(mine())
    try:
        yield
    finally:
        mining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await mining


def cli() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wallets", type=int, default=500)
    parser.add_argument("--block-seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true", help="one line, for bench/measures/evm.py")
    options = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    report = asyncio.run(main(options.wallets, options.block_seconds))
    print(json.dumps(report, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(cli())
