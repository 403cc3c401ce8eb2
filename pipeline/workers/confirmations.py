"""``flagpost confirmations``: follows payments until they are final, and settles their jobs.

    waiting ──(NOTIFY transfers, timer)──▶ a round a block, while anything is out ──▶ waiting

Needs no mnemonic: it sends again only the bytes that were kept. A pause of the system does not stop it, nor does a
chain that is switched off: what is out is followed to its end. An operator who pauses this process makes it stand by,
and another one takes over.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from loguru import logger

from pipeline.catalog.chains import ChainRow, chain_opener
from pipeline.chains.errors import ChainError, InconsistentNode, WrongNetwork
from pipeline.chains.provider import Provider
from pipeline.db.errors import DATABASE_GONE, refused_by_guard
from pipeline.log import LogThrottle
from pipeline.payments.crashpoints import arm
from pipeline.payments.reconcile.store import ReconciliationStore
from pipeline.payments.settle.numbered import Numbering
from pipeline.payments.settle.settlement import Settlement
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.store import PaymentStore
from pipeline.printable import reason
from pipeline.settings import Settings
from pipeline.workers.chains import Chains, ChainWork, all_is_well, complain, until_the_network_is_right
from pipeline.workers.leader import Leader
from pipeline.workers.runtime import Runtime, Worker

STANDBY_SECONDS = 2.0
"""Between two attempts to lead: how long payments go unwatched after the leader dies."""
DATABASE_RETRY_SECONDS = 0.5
NODE_RETRY_SECONDS = 3.0
CONTRADICTION_RETRY_SECONDS = 30.0
"""After a node of another network or an inconsistent one: a person has to act."""
TIDY_SECONDS = 15.0
"""Between two checks for payments that nothing else comes back to."""
ALARM_LASTS_SECONDS = 3600.0
"""So long after the last alarm they are shown: some are found by turns only."""


class Confirmations:
    """A ``runtime.Worker``, one loop a chain."""

    type = "confirmations"
    role = "pipeline_confirmations"
    channels: Sequence[str] = ("transfers",)

    def __init__(self, chains: Sequence[str] | None = None) -> None:
        """``chains`` by name; None: every active one, and those with money out."""
        self.blockchain = None if chains is None else ",".join(chains)
        self.counts: Counter[str] = Counter()
        self.out: dict[str, int] = {}
        """Payments that are out, by chain."""
        self._names = chains
        self._chains: Chains[Following] | None = None

    def stats(self) -> Mapping[str, Any]:
        """Rounds, payments that are out, and nodes that failed lately."""
        nodes = {} if self._chains is None else self._chains.troubles()
        return {**self.counts, "out": dict(self.out), "nodes": nodes}

    async def run(self, runtime: Runtime) -> None:
        """Follow every chain until told to stop. Raises ConfigError for a name that is no chain."""
        self._chains = Chains(
            runtime,
            chain_opener(runtime.settings),
            self._names,
            lambda row, provider: Following(runtime, row, provider, self),
            with_money_out=True,
        )
        await self._chains.serve("transfers")


class Following(ChainWork):
    """The loop of one chain."""

    def __init__(self, runtime: Runtime, row: ChainRow, provider: Provider, of: Confirmations) -> None:
        super().__init__(runtime, row, provider)
        self._of = of
        stores = SettlementStore(runtime.pool), PaymentStore(runtime.pool)
        numbered, self._announcing = provider.capabilities.numbered, provider.capabilities.heads
        self._announced = asyncio.Event()
        numbering = None
        if numbered is not None:
            numbering = Numbering(numbered, ReconciliationStore(runtime.pool), row.replace_after_blocks)
        self._settlement = Settlement(row.id, *stores, provider, row.block_seconds, numbering)
        self._leader = Leader(runtime.pool, runtime.registration.incarnation, f"confirmations {row.name}")
        self._lease: int | None = None
        """Under which this process led in the last turn."""
        self._next_tidy = 0.0
        self._standing_since: float | None = None
        """Since when no round has come to its end, because of the nodes."""
        self._alarmed_at = 0.0
        self._gone = LogThrottle()
        self._begin(f"confirmations {row.name}")

    def _ended(self) -> None:
        self._of.out.pop(self.row.name, None)

    async def _run(self) -> None:
        heads = asyncio.create_task(self._follow_heads())
        try:
            await until_the_network_is_right(self._runtime, self.row, self.provider)
            while not self._runtime.stopping.is_set():
                self._woken.clear()
                try:
                    await self._turn()
                except DATABASE_GONE as error:
                    if refused_by_guard(error):
                        # No outage: what was read contradicts the database, and will again.
                        pause = min(CONTRADICTION_RETRY_SECONDS, 10 * self.row.block_seconds)
                        complain(self._runtime, self.row, error, pause)
                        await self._wait(pause, wake=False)
                        continue
                    if self._gone.due():
                        logger.warning("confirmations {}: {}; trying again", self.row.name, reason(error))
                    await self._wait(DATABASE_RETRY_SECONDS, wake=False)
                except ChainError as error:
                    serious = isinstance(error, WrongNetwork | InconsistentNode)
                    pause = CONTRADICTION_RETRY_SECONDS if serious else NODE_RETRY_SECONDS
                    pause = min(pause, 10 * self.row.block_seconds)
                    now = asyncio.get_running_loop().time()
                    self._standing_since = now if self._standing_since is None else self._standing_since
                    complain(self._runtime, self.row, error, pause, now - self._standing_since)
                    await self._wait(pause, wake=False)
        finally:
            heads.cancel()
            await asyncio.gather(heads, return_exceptions=True)
            await self._leader.close()

    async def _turn(self) -> None:
        """Stand by, or do a round; then wait."""
        if self._runtime.registration.paused_by_operator or not await self._leader.leads():
            await self._leader.close()
            await self._wait(STANDBY_SECONDS, wake=False)
            return
        if self._leader.lease != self._lease:
            self._lease = self._leader.lease
            self._settlement.reset()
        now = asyncio.get_running_loop().time()
        if now >= self._next_tidy:
            alarms = await self._settlement.tidy()
            if alarms or now >= self._alarmed_at + ALARM_LASTS_SECONDS:
                self._alarmed_at = now
                self._runtime.troubles.say(f"payments of {self.row.name}", "; ".join(alarms))
            self._next_tidy = now + TIDY_SECONDS
        out = self._of.out[self.row.name] = await self._settlement.round()
        self._standing_since = None
        all_is_well(self._runtime, self.row)
        self._of.counts["rounds"] += 1
        if out:
            await self._wait_for_block()
        else:
            await self._wait(min(self._runtime.config.sweep.interval_seconds, TIDY_SECONDS), wake=True)

    async def _follow_heads(self) -> None:
        """Note each block that a node announces, where one does."""
        if self._announcing is None:
            return
        async with contextlib.aclosing(self._announcing.heads()) as heads:
            async for _ in heads:
                self._announced.set()

    async def _wait_for_block(self) -> None:
        """Until the next block: announced, or as long as one takes."""
        if self._announcing is None:
            await self._wait(self.row.block_seconds, wake=False)
            return
        ends = [asyncio.create_task(event.wait()) for event in (self._runtime.stopping, self._announced)]
        try:
            await asyncio.wait(ends, timeout=self.row.block_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        self._announced.clear()

    async def _wait(self, seconds: float, *, wake: bool) -> None:
        """Wait; the end of the process cuts it short, and with ``wake`` a NOTIFY does too."""
        waited_for = self._woken if wake else self._runtime.stopping
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await waited_for.wait()


def create(settings: Settings, *, chains: Sequence[str] | None = None) -> Worker:
    """The worker for ``runtime.serve``. ``chains`` by name; None: every active one. Raises ValueError for an
    unknown crash point."""
    arm(settings.crash_point)
    return Confirmations(chains)
