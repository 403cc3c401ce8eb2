"""The balance sync: reads due balances in batches and writes what it read. It decides nothing and needs no key.

    due ──claim (lock)──▶ processing ──one call to the chain──▶ store (unlock)
                              └── lock expires: due again, and a late store changes nothing

One task per chain. It wakes by NOTIFY ``balance_due`` and when the next balance is due. While more is due than one
batch holds, batches grow to what one call to a node reads best, and the next is read while the last is stored.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from loguru import logger
from psycopg.rows import TupleRow, dict_row, scalar_row

from pipeline.balances.moved import MovedWallets
from pipeline.catalog.chains import (
    RETRY_SECONDS,
    ChainRow,
    Chains,
    OpenChain,
    all_is_well,
    complain,
    keep_going,
    until_the_network_is_right,
)
from pipeline.chains.errors import ChainError
from pipeline.chains.provider import Provider
from pipeline.chains.values import Asset, Balance, BalanceQuery, Finality
from pipeline.db.statements import statement
from pipeline.workers.runtime import DATABASE_GONE, HAND_BACK_SECONDS, Runtime, Stopped, reason

SHORTEST_NAP_SECONDS = 0.05
BOUND_SECONDS = 10.0
"""Between two checks for balances that are scheduled for later than any rule schedules them."""
BOUND_ROWS = 5_000
"""Of an asset, in one statement."""
BATCHES_AT_ONCE = 3
"""Of one chain. The node, this process and Postgres work at the same time then; more only wait for each other."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of one claim."""

    chain: str
    block: int | None
    """The final block the balances were read at."""
    read: int
    changed: int
    failed: int
    """Could not be read; ``last_error`` says why."""
    older: int
    """Read at an older block than the balance that is stored already, and not used."""
    lost: int
    """Taken over by another sync, or unlocked by hand, while they were read."""


@dataclass(frozen=True, slots=True)
class _Due:
    """One claimed balance."""

    id: UUID
    wallet_id: UUID
    known_raw: str
    known_error: str | None
    query: BalanceQuery


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


class ChainSync:
    """The loop of one chain."""

    def __init__(self, runtime: Runtime, row: ChainRow, provider: Provider, observe: Callable[[Batch], None]) -> None:
        self.row = row
        self.provider = provider
        self.bell = asyncio.Event()
        """Look at what is due."""
        self._runtime = runtime
        self._observe = observe
        self._claims = 0
        self._unanswered = 0
        self._next_bound = 0.0
        self._moved: MovedWallets | None = None
        if (logs := provider.capabilities.logs) is not None:
            self._moved = MovedWallets(runtime, row, logs, time.monotonic)
        self.task = asyncio.create_task(keep_going(runtime, row, self._run), name=f"sync {row.name}")

    def ring(self) -> None:
        self.bell.set()

    async def close(self) -> None:
        """End the loop, give back what it holds, close the connections to the nodes."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Stopped):
            await self.task
        await self.provider.close()

    async def _run(self) -> None:
        """Read this chain until told to stop. Raises Stopped at the end."""
        await until_the_network_is_right(self._runtime, self.row, self.provider)
        while not self._runtime.stopping.is_set():
            self.bell.clear()
            failure = await self._drain()
            if failure is not None:
                seconds = self._retry_seconds()
                self._unanswered += 1
                # Said last: whoever reads that the node is away finds the balances free.
                complain(self._runtime, self.row, failure, seconds)
                await self._runtime.sleep(seconds)
            elif not self._runtime.paused:
                all_is_well(self._runtime, self.row)
                await self._bound_schedules()
                if self._moved is not None:
                    await self._moved.look()
            await self._nap()

    async def _bound_schedules(self) -> None:
        """A schedule is not believed that lies further ahead than its interval: the balance is read now, and it is
        told. The commit notifies."""
        if time.monotonic() < self._next_bound:
            return
        bounded = await self._runtime.persist("looking for schedules too far ahead", self._bound)
        if bounded:
            logger.error(
                "sync {}: {} balances were scheduled for later than their interval allows, and are read now: the clock "
                "of the database was wrong (see that it is kept by NTP), or sync_interval was shortened",
                self.row.name, bounded,
            )  # fmt: skip
        # Of more than one statement bounds, the next ones follow what is due now.
        self._next_bound = time.monotonic() + (0.0 if bounded >= BOUND_ROWS else BOUND_SECONDS)

    async def _bound(self) -> int:
        parameters = {"chain_id": self.row.id, "rows": BOUND_ROWS}
        async with self._runtime.pool.connection() as connection:
            return (await connection.execute(statement("sync/bound_schedules"), parameters, prepare=True)).rowcount

    async def _drain(self) -> ChainError | None:
        """Read all that is due. What kept a batch from being read, once no other is under way any more."""
        size, more, failure = self._runtime.config.sync.batch, True, None
        under_way: set[asyncio.Task[ChainError | None]] = set()
        try:
            while True:
                more = more and failure is None and not (self._runtime.stopping.is_set() or self._runtime.paused)
                if more:
                    lock, due = await self._claim(size)
                    if due:
                        under_way.add(asyncio.create_task(self._read(lock, due), name=f"sync {lock}"))
                    more = len(due) >= size
                    size = max(size, min(2 * size, self._runtime.config.sync.largest_batch))
                if not under_way:
                    return failure
                if not more or len(under_way) == BATCHES_AT_ONCE:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    failure = next(filter(None, (task.result() for task in done)), failure)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _nap(self) -> None:
        if self._runtime.paused:
            await self.bell.wait()
            return
        due = await self._runtime.persist("asking what is due", self._next_due)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(due, SHORTEST_NAP_SECONDS), self._runtime.config.sync.idle_seconds)):
                await self.bell.wait()

    async def _next_due(self) -> float:
        async with self._runtime.pool.connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            await cursor.execute(statement("sync/next_due"), {"chain_id": self.row.id}, prepare=True)
            seconds: float | None = await cursor.fetchone()
        return self._runtime.config.sync.idle_seconds if seconds is None else seconds

    async def _claim(self, size: int) -> tuple[str, list[_Due]]:
        """Up to ``size`` due balances, and the lock they are under."""
        self._claims += 1
        process = self._runtime.registration
        lock = f"{process.slot}:{process.incarnation}:{self.row.name}:{self._claims}"
        parameters = {
            "lock": lock,
            "lock_seconds": self._runtime.config.sync.lock_seconds,
            "batch": size,
            "chain_id": self.row.id,
        }

        async def claim() -> list[_Due]:
            async with self._runtime.pool.connection() as connection:
                cursor = await connection.execute(statement("sync/claim"), parameters, prepare=True)
                return _due(await cursor.fetchall())

        return lock, await self._runtime.persist("claiming balances", claim)

    async def _read(self, lock: str, due: Sequence[_Due]) -> ChainError | None:
        """Read and store one batch. Where no node answers: give it back, and what they said."""
        try:
            balances = await self.provider.balances([one.query for one in due], Finality.FINAL)
        except ChainError as error:
            await self._release(lock, due, self._retry_seconds(), reason(error))
            return error
        except BaseException:  # cancelled at the end of the grace, or a fault: others may have them at once
            await self._release(lock, due, 0.0, None)
            raise
        self._unanswered = 0
        stored = await self._runtime.persist("storing balances", lambda: self._store(lock, due, balances))
        await self._tell(due, balances, stored)
        return None

    async def _store(
        self, lock: str, due: Sequence[_Due], balances: Sequence[Balance]
    ) -> dict[UUID, tuple[str, datetime]]:
        """Balance id → outcome and time, for those that were still ours."""
        async with self._runtime.pool.connection() as connection:
            cursor = await connection.execute(
                statement("sync/store"),
                {
                    "lock": lock,
                    "ids": [one.id for one in due],
                    "raws": [None if balance.raw is None else str(balance.raw) for balance in balances],
                    "blocks": [None if balance.block is None else balance.block.number for balance in balances],
                    "errors": [_error(balance) for balance in balances],
                },
                prepare=True,
            )
            return {balance_id: (outcome, at) for balance_id, outcome, at in await cursor.fetchall()}

    async def _tell(
        self, due: Sequence[_Due], balances: Sequence[Balance], stored: Mapping[UUID, tuple[str, datetime]]
    ) -> None:
        """Count, and say in one line what moved."""
        kinds = Counter(outcome for outcome, _ in stored.values())
        moved = [
            one
            for one, balance in zip(due, balances, strict=True)
            if one.id in stored and stored[one.id][0] == "read" and str(balance.raw) != one.known_raw
        ]
        block = max((balance.block.number for balance in balances if balance.block is not None), default=None)
        batch = Batch(
            self.row.name, block, kinds["read"], len(moved), kinds["failed"], kinds["older"], len(due) - len(stored)
        )
        for one, balance in zip(due, balances, strict=True):
            error = _error(balance)
            if error is not None and error != one.known_error:
                logger.warning("sync {}: {} of {}: {}", batch.chain, one.query.asset.symbol, one.query.address, error)
        if batch.older:
            logger.warning(
                "sync {}: {} balances were read at block {}, older than what is stored, and not used: a node lags",
                batch.chain, batch.older, block,
            )  # fmt: skip
        if batch.lost:
            logger.warning("sync {}: {} balances were taken over while they were read", batch.chain, batch.lost)
        if moved:
            since = min(at for _, at in stored.values())
            gas, consolidation = await self._runtime.persist("counting flags", lambda: self._raised(moved, since))
            raised = [f"{count} {flag}" for flag, count in (("gas", gas), ("consolidation", consolidation)) if count]
            flags = f", flags raised: {', '.join(raised)}" if raised else ""
            logger.info(
                "sync {}: {} balances read at block {}, {} changed{}",
                batch.chain, batch.read, block, batch.changed, flags,
            )  # fmt: skip
        self._observe(batch)

    async def _raised(self, moved: Sequence[_Due], since: datetime) -> tuple[int, int]:
        async with self._runtime.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(
                statement("sync/raised"), {"since": since, "wallet_ids": list({one.wallet_id for one in moved})}
            )
            (row,) = await cursor.fetchall()
            return row["gas"], row["consolidation"]

    async def _release(self, lock: str, due: Sequence[_Due], retry_seconds: float, error: str | None) -> None:
        """Unlock what was not read. Where that fails too, the lock expires by itself."""
        parameters = {"lock": lock, "ids": [one.id for one in due], "retry_seconds": retry_seconds, "error": error}
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS), self._runtime.pool.connection() as connection:
                await connection.execute(statement("sync/release"), parameters)
        except DATABASE_GONE as gone:
            logger.warning("sync {}: {} balances stay locked for a while: {}", self.row.name, len(due), reason(gone))

    def _retry_seconds(self) -> float:
        return RETRY_SECONDS[min(self._unanswered, len(RETRY_SECONDS) - 1)]


def _due(rows: Sequence[TupleRow]) -> list[_Due]:
    assets: dict[str | None, Asset] = {}
    due = []
    for balance_id, wallet_id, known_raw, known_error, address, symbol, decimals, contract in rows:
        if contract not in assets:
            assets[contract] = Asset(symbol, decimals, contract)
        query = BalanceQuery(address, assets[contract])
        due.append(_Due(balance_id, wallet_id, known_raw, known_error, query))
    return due


def _error(balance: Balance) -> str | None:
    if balance.error is None and (balance.raw is None or balance.block is None):
        return "the node gave neither a balance nor a reason"
    return balance.error
