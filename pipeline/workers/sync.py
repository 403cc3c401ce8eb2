"""The balance sync: reads due balances in batches and stores what it read. It decides nothing and needs no key.

One task per chain. It wakes by NOTIFY ``balance_due`` and when the next balance is due. While more is due than one
batch holds, batches grow to what one call to a node reads best, and the next is read while the last is stored.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loguru import logger

from pipeline.balances.batch import Batch
from pipeline.balances.moved import MovedBalances
from pipeline.balances.page_store import PageStore
from pipeline.balances.reading import DueReading, PageReading, Reading
from pipeline.balances.store import BalanceStore
from pipeline.catalog.chains import ChainRow, OpenChain
from pipeline.chains.errors import ChainError
from pipeline.chains.provider import Provider
from pipeline.chains.values import Finality
from pipeline.db.errors import DATABASE_GONE
from pipeline.printable import reason
from pipeline.workers.chains import (
    RETRY_SECONDS,
    Chains,
    ChainWork,
    all_is_well,
    complain,
    until_the_network_is_right,
)
from pipeline.workers.runtime import HAND_BACK_SECONDS, Runtime

SHORTEST_WAIT_SECONDS = 0.05
BOUND_SECONDS = 10.0
"""Between two checks for balances that are scheduled for later than any rule schedules them."""
BOUND_ROWS = 5_000
"""Of an asset, in one statement."""
BATCHES_AT_ONCE = 3
"""Of one chain. The node, this process and Postgres work at the same time then; more only wait for each other."""


class Sync:
    """The process ``sync``. A ``runtime.Worker``."""

    type = "sync"
    role = "pipeline_sync"
    channels: Sequence[str] = ("balance_due",)

    def __init__(
        self,
        open_chain: OpenChain,
        *,
        chain_names: Sequence[str] | None = None,
        observer: Callable[[Batch], None] | None = None,
    ) -> None:
        """``chain_names`` None: every active chain. ``observer`` is told of each batch once it is stored."""
        self.blockchain = ",".join(chain_names) if chain_names else None
        self.counts: Counter[str] = Counter()
        self._open_chain = open_chain
        self._chain_names = chain_names
        self._observer = observer
        self._chains: Chains[ChainSync] | None = None

    def stats(self) -> Mapping[str, Any]:
        """Counts of balances since the start, and nodes that failed lately."""
        return {**self.counts, "nodes": {} if self._chains is None else self._chains.troubles()}

    async def run(self, runtime: Runtime) -> None:
        """Read until told to stop; a batch that is under way is stored within the grace, else given back."""
        self._chains = Chains(
            runtime,
            self._open_chain,
            self._chain_names,
            lambda row, provider: ChainSync(runtime, row, provider, self.observe),
        )
        await self._chains.serve("balance_due")

    def observe(self, batch: Batch) -> None:
        """Count a batch."""
        self.counts.update(
            read=batch.read, changed=batch.changed, failed=batch.failed, older=batch.older, lost=batch.lost
        )
        self.counts["batches"] += 1
        if self._observer is not None:
            self._observer(batch)


class ChainSync(ChainWork):
    """The loop of one chain."""

    def __init__(self, runtime: Runtime, row: ChainRow, provider: Provider, observe: Callable[[Batch], None]) -> None:
        super().__init__(runtime, row, provider)
        self._observe = observe
        self._store = BalanceStore(runtime.pool, row.id)
        self._pages = PageStore(runtime.pool, row.id)
        self._claims = 0
        self._releasing: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self._next_bound = 0.0
        logs = provider.capabilities.logs
        self._moved = None if logs is None else MovedBalances(self._store, logs)
        self._moved_at: float | None = None
        self._moved_unread = False
        self._begin(f"sync {row.name}")

    async def _run(self) -> None:
        """Read this chain until told to stop. Raises Stopped at the end."""
        await until_the_network_is_right(self._runtime, self.row, self.provider)
        while not self._runtime.stopping.is_set():
            self._woken.clear()
            failure = await self._read_all_due()
            if failure is not None:
                seconds = self._retry_seconds()
                self._unanswered += 1
                # Said last: whoever reads that the node is away finds the balances free.
                complain(self._runtime, self.row, failure, seconds)
                await self._runtime.sleep(seconds)
            elif not self._runtime.paused:
                all_is_well(self._runtime, self.row)
                await self._bound_schedules()
                await self._make_moved_due()
            await self._wait()

    async def _read_all_due(self) -> ChainError | None:
        """Read all that is due. What kept a batch from being read, once no other is under way any more."""
        size, more, failure = self._runtime.config.sync.batch, True, None
        under_way: set[asyncio.Task[ChainError | None]] = set()
        try:
            while True:
                more = more and failure is None and not (self._runtime.stopping.is_set() or self._runtime.paused)
                if more:
                    reading = await self._next_reading(size)
                    if reading is not None:
                        under_way.add(asyncio.create_task(self._read(reading), name=f"sync {reading.lock}"))
                    more = reading is not None
                    size = max(size, min(2 * size, self._runtime.config.sync.largest_batch))
                if not under_way:
                    return failure
                if not more or len(under_way) == BATCHES_AT_ONCE:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    troubles = [trouble for task in done if (trouble := task.exception()) is not None]
                    if troubles:
                        raise troubles[0]
                    failure = next(filter(None, (task.result() for task in done)), failure)
        except Exception:  # of one batch: the others are stored all the same
            if under_way:
                await asyncio.wait(under_way)
            raise
        finally:
            # Each begins first: one that is cancelled before would not give back what was claimed for it.
            await asyncio.sleep(0)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, *self._releasing, return_exceptions=True)

    async def _next_reading(self, size: int) -> Reading | None:
        """Up to ``size`` balances that are due by themselves; where there are none, a page that is due."""
        self._claims += 1
        process, config = self._runtime.registration, self._runtime.config.sync
        lock = f"{process.slot}:{process.incarnation}:{self.row.name}:{self._claims}"
        claim = await self._runtime.persist(
            "claiming balances", lambda: self._store.claim(lock, size, config.lock_seconds)
        )
        if claim.balances:
            return DueReading(self._store, claim)
        page = await self._runtime.persist(
            "claiming a page of balances",
            lambda: self._pages.claim(lock, config.largest_batch, config.lock_seconds, config.record_seconds),
        )
        return None if page is None else PageReading(self._pages, page)

    async def _read(self, reading: Reading) -> ChainError | None:
        """Read and store one batch. Where no node answers: give it back, and what they said."""
        try:
            balances = await self.provider.balances(reading.queries, Finality.FINAL) if reading.queries else []
            self._unanswered = 0
            batch = await self._runtime.persist("storing balances", lambda: reading.store(self.row.name, balances))
        except ChainError as error:
            self._runtime.attempts.note(len(reading.queries), len(reading.queries))
            await self._release(reading, self._retry_seconds(), reason(error))
            return error
        except BaseException:  # cancelled at the end of the grace, or a fault: others may have them at once
            await self._release(reading, 0.0, None)
            raise
        self._runtime.attempts.note(batch.read + batch.failed, batch.failed)
        await self._report(batch)
        self._observe(batch)
        return None

    async def _release(self, reading: Reading, retry_seconds: float, error: str | None) -> None:
        """Unlock what was not stored, whoever gives up waiting. Where that fails too, the lock expires by itself."""
        releasing = asyncio.create_task(self._unlock(reading, retry_seconds, error))
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)
        await asyncio.shield(releasing)

    async def _unlock(self, reading: Reading, retry_seconds: float, error: str | None) -> None:
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                await reading.release(retry_seconds, error)
        except DATABASE_GONE as gone:
            count = len(reading.queries)
            logger.warning("sync {}: {} balances stay locked for a while: {}", self.row.name, count, reason(gone))

    async def _report(self, batch: Batch) -> None:
        """Log what failed, and in one line what changed."""
        for query, error in batch.new_errors:
            logger.warning("sync {}: {} of {}: {}", batch.chain, query.asset.symbol, query.address, error)
        if batch.older:
            logger.warning(
                "sync {}: balances not stored, because a node lags: it gave block {}, older than the stored one: {}",
                batch.chain, batch.block, batch.older,
            )  # fmt: skip
        if batch.lost:
            logger.warning(
                "sync {}: balances not stored, because another sync locked them meanwhile: {}", batch.chain, batch.lost
            )
        if batch.changed_wallets and (since := batch.stored_at) is not None:
            wallets = set(batch.changed_wallets)
            gas, consolidation = await self._runtime.persist(
                "counting flags", lambda: self._store.flags_raised(wallets, since)
            )
            raised = [f"{count} {flag}" for flag, count in (("gas", gas), ("consolidation", consolidation)) if count]
            flags = f", flags raised: {', '.join(raised)}" if raised else ""
            logger.info(
                "sync {}: {} balance{} read at block {}, {} changed{}",
                batch.chain, batch.read, "" if batch.read == 1 else "s", batch.block, batch.changed, flags,
            )  # fmt: skip

    async def _bound_schedules(self) -> None:
        """A schedule that lies further ahead than its interval allows is not believed: the balance is read now, and an
        error is logged. The commit notifies."""
        if time.monotonic() < self._next_bound:
            return
        bounded = await self._runtime.persist(
            "checking for schedules too far ahead", lambda: self._store.bound_schedules(BOUND_ROWS)
        )
        if bounded:
            logger.error(
                "sync {}: {} balances were scheduled for later than their interval allows, and are read now: the clock "
                "of the database was wrong (see that it is kept by NTP), or sync_interval was shortened",
                self.row.name, bounded,
            )  # fmt: skip
        # Of more than one statement bounds, the next ones follow what is due now.
        self._next_bound = time.monotonic() + (0.0 if bounded >= BOUND_ROWS else BOUND_SECONDS)

    async def _make_moved_due(self) -> None:
        """Every ``sync.transfers_seconds`` make due what moved on the chain. Where no node answers, the next time makes
        up for it."""
        every, now = self._runtime.config.sync.transfers_seconds, time.monotonic()
        recent = self._moved_at is not None and now - self._moved_at < every
        if self._moved is None or every == 0 or recent:
            return
        self._moved_at = now
        try:
            moved = await self._runtime.persist("making moved balances due", self._moved.make_due)
        except ChainError as error:
            if not self._moved_unread:
                logger.warning("sync {}: logs of token transfers were not read: {}", self.row.name, reason(error))
            self._moved_unread = True
            return
        self._moved_unread = False
        if moved is not None and moved.due:
            logger.info(
                "sync {}: {} balances moved in blocks {} to {}", self.row.name, moved.due, moved.first, moved.last
            )

    async def _wait(self) -> None:
        """Until the next balance is due, or somebody notifies."""
        if self._runtime.paused:
            await self._woken.wait()
            return
        idle = self._runtime.config.sync.idle_seconds
        due = await self._runtime.persist("reading when the next balance is due", self._store.next_due)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(idle if due is None else due, SHORTEST_WAIT_SECONDS), idle)):
                await self._woken.wait()

    def _retry_seconds(self) -> float:
        return RETRY_SECONDS[min(self._unanswered, len(RETRY_SECONDS) - 1)]
