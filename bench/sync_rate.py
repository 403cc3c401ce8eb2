"""Balances read and stored per second by one sync process against a local anvil, triggers on, and one by one.

    python -m bench.sync_rate [--wallets 20000] [--rounds 3] [--json]

The real thing from end to end: the process `sync` (here: this process) with its own role, on a real durable Postgres,
from the commit that makes every balance due to the commit of the last store. In each round 2 % of the coin balances
have moved. Each round, one right after the other:

    pages        as configured by default: the pages of the interval, of which only what changed is written
    recorded     the same, with last_checked and sync_count written for every balance (by default once an hour)
    batched      every balance made due by itself, as new and moved ones are: locked and stored row by row
    one by one   the same sync with batches of one, each after the last
    script       no pipeline at all: web3's own provider, one balance a call, one UPDATE each

and all of them with the node next door (loopback) and with a node 20 ms away, because loopback hides what most of
reading one by one is made of. CPU is the figure with the least noise: microseconds a balance of the sync, of Postgres
and of the node.
Needs anvil: `npm ci` in tests/clients.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from loguru import logger
from web3 import AsyncHTTPProvider, AsyncWeb3

from bench.evm_balances import ABI
from bench.evm_stand import ASSETS, CHAIN_ID, ETHER, Stand, line, stand, wallet_address
from pipeline.balances.batch import Batch
from pipeline.catalog.chains import ChainRow
from pipeline.chains.families.providers import open_provider
from pipeline.chains.provider import Provider
from pipeline.workers import sync
from pipeline.workers.sync import Sync
from tests.db.worker_kit import configure, running

ROUND_TRIP_SECONDS = 0.02
MOVED = 50
"""One of so many coin balances moves in a round."""
ONE_BY_ONE = {"loopback": 400, "20 ms away": 40}
"""Balances; enough for a rate."""

Measure = Callable[[Stand, str, int], Coroutine[Any, Any, dict[str, float]]]


@dataclass
class Meter:
    """Counts what a sync stores."""

    wanted: int
    read: int = 0
    batches: int = 0
    last: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, batch: Batch) -> None:
        self.read += batch.read
        self.batches += 1
        self.last = time.perf_counter()
        if batch.failed or batch.older or batch.lost:
            raise RuntimeError(f"not all was read: {batch}")
        if self.read >= self.wanted:
            self.done.set()


async def measure(wallets: int, rounds: int) -> dict[str, Any]:
    samples: dict[str, dict[str, list[dict[str, float]]]] = {}
    async with stand(wallets) as place, line(place.node.url, ROUND_TRIP_SECONDS) as far:
        for number in range(rounds + 1):  # the first one warms up: every balance is read for the first time
            for where, url in (("loopback", place.node.url), ("20 ms away", far)):
                await place.reach_by(url)
                for how, work in WAYS.items():
                    await move_some(place, number)
                    figures = await work(place, url, ONE_BY_ONE[where] if how in FEW else wallets * ASSETS)
                    if number:
                        samples.setdefault(where, {}).setdefault(how, []).append(figures)
    return {
        "wallets": wallets,
        "balances": wallets * ASSETS,
        "rounds": rounds,
        **{where: summary(ways) for where, ways in samples.items()},
    }


async def move_some(place: Stand, number: int) -> None:
    movers = [wallet_address(one) for one in range(1 + number % MOVED, place.wallets + 1, MOVED)]
    await place.give(movers, (number + 1) * ETHER)


async def pages(place: Stand, _url: str, count: int) -> dict[str, float]:
    return await by_sync(place, count, place.make_pages_due)


async def recorded(place: Stand, _url: str, count: int) -> dict[str, float]:
    return await by_sync(place, count, place.make_pages_due, sync__record_seconds=0)


async def batched(place: Stand, _url: str, count: int) -> dict[str, float]:
    return await by_sync(place, count, lambda: place.make_due(count))


async def one_by_one(place: Stand, _url: str, count: int) -> dict[str, float]:
    with patch.object(sync, "BATCHES_AT_ONCE", 1):
        return await by_sync(place, count, lambda: place.make_due(count), sync__batch=1, sync__largest_batch=1)


async def by_sync(
    place: Stand, count: int, make_due: Callable[[], Coroutine[Any, Any, object]], **config: int
) -> dict[str, float]:
    """Rate, calls and CPU of a sync that starts with nothing due."""
    await place.vacuum()
    await place.connection.execute("DELETE FROM system_config")
    await configure(place.connection, **config)
    meter = Meter(count)
    async with running(Sync(opener, observer=meter), place.dsn) as runtime:
        await make_due()
        written = await place.wal_bytes()
        started, own, others = time.perf_counter(), time.process_time(), place.cpu_seconds()
        ended = asyncio.create_task(runtime.stopping.wait())
        await asyncio.wait(
            {ended, done := asyncio.create_task(meter.done.wait())},
            return_when=asyncio.FIRST_COMPLETED,
        )
        own, after = time.process_time() - own, place.cpu_seconds()
        written = await place.wal_bytes() - written
        ended.cancel()
        if not done.done():
            raise RuntimeError(f"the sync ended: {runtime.last_error}")
    return {
        "per_second": count / (meter.last - started),
        "balances_a_batch": count / meter.batches,
        "wal_bytes": written / count,
        "cpu_us_sync": own / count * 1e6,
        **{f"cpu_us_{name}": (after[name] - others[name]) / count * 1e6 for name in after},
    }


async def script(place: Stand, url: str, count: int) -> dict[str, float]:
    """What most scripts do."""
    web3 = AsyncWeb3(AsyncHTTPProvider(url))
    token = web3.eth.contract(AsyncWeb3.to_checksum_address(place.token.contract or ""), abi=ABI)
    started = time.perf_counter()
    for number in range(1, count // ASSETS + 1):
        owner = AsyncWeb3.to_checksum_address(wallet_address(number))
        coins = await web3.eth.get_balance(owner, "finalized")
        tokens = await token.functions.balanceOf(owner).call(block_identifier="finalized")
        for raw, contract in ((coins, None), (tokens, place.token.contract)):
            await place.connection.execute(
                """
                UPDATE wallet_balances b
                SET on_chain_balance_raw = %s, last_checked = now(), sync_count = sync_count + 1
                FROM wallets w, asset_on_chain a
                WHERE w.address = %s AND b.wallet_id = w.id AND a.id = b.asset_on_chain_id
                  AND a.contract_address IS NOT DISTINCT FROM %s
                """,
                [str(raw), owner, contract],
            )
    seconds = time.perf_counter() - started
    await web3.provider.disconnect()
    return {"per_second": count / seconds}


FEW = ("one by one", "script")
WAYS: dict[str, Measure] = {
    "batched": batched,
    "pages": pages,
    "recorded": recorded,
    "one by one": one_by_one,
    "script": script,
}


def opener(chain: ChainRow) -> Provider:
    return open_provider(chain.family, chain.name, str(CHAIN_ID), chain.nodes)


def summary(ways: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians, and how often faster than the others in the same round."""
    report: dict[str, Any] = {
        how: {name: round(statistics.median(one[name] for one in rounds), 1) for name in rounds[0]}
        for how, rounds in ways.items()
    }
    for how in ("one by one", "script"):
        ratios = [fast["per_second"] / slow["per_second"] for fast, slow in zip(ways["pages"], ways[how], strict=True)]
        report[f"times faster than {how}"] = round(statistics.median(ratios), 1)
    return report


def show(report: dict[str, Any]) -> None:
    print(f"{report['balances']} balances of {report['wallets']} wallets, {report['rounds']} rounds, medians")
    for where in ("loopback", "20 ms away"):
        for how, figures in report[where].items():
            told = figures
            if isinstance(figures, dict):
                told = ", ".join(f"{value:g} {name}" for name, value in figures.items())
            print(f"{where:<12}{how:<32}{told}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wallets", type=int, default=20_000, help="two balances each (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    if options.wallets < max(ONE_BY_ONE.values()) or options.rounds < 1:
        parser.error(f"--wallets must be {max(ONE_BY_ONE.values())} or more, --rounds positive")
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    import uvloop

    report = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(measure(options.wallets, options.rounds))
    if options.json:
        print(json.dumps(report))
    else:
        show(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
