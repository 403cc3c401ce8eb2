"""``flagpost confirmations``: follows payments until they are final, and settles their jobs.

    asleep ──(NOTIFY transfers, timer)──▶ a round a block, while anything is out ──▶ asleep

Needs no mnemonic: it sends again only the bytes that were kept. A pause of the system does not stop it: what is out is
followed to its end. An operator who pauses this process makes it stand by, and another one takes over.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from loguru import logger

from pipeline.chains.errors import ChainError, LyingNode, WrongNetwork
from pipeline.db.dsn import listen_dsn
from pipeline.settings import Settings
from pipeline.transfers.crashpoints import arm
from pipeline.transfers.settle import Settlement
from pipeline.transfers.settlements import SettlementStore
from pipeline.transfers.store import TransferStore
from pipeline.workers.chains import ServedChain, ServedChains
from pipeline.workers.leader import Leader
from pipeline.workers.runtime import DATABASE_GONE, Runtime, Worker, reason

STANDBY_SECONDS = 2.0
"""Between two attempts to lead: how long payments go unwatched after the leader dies."""
DATABASE_RETRY_SECONDS = 0.5
NODE_RETRY_SECONDS = 3.0
CONTRADICTION_RETRY_SECONDS = 30.0
"""After a node of another network or one that lies: somebody has to look."""
TIDY_SECONDS = 15.0
"""Between two looks for what nobody comes back to."""


class Confirmations:
    """A ``runtime.Worker``, one loop a chain."""

    type = "confirmations"
    role = "pipeline_executor"
    channels: Sequence[str] = ("transfers",)

    def __init__(self, chains: Sequence[str] | None = None) -> None:
        """``chains`` by name; None: every active one."""
        self.blockchain = None if chains is None else ",".join(chains)
        self.counts: Counter[str] = Counter()
        self.out: dict[str, int] = {}
        """Payments that are out, by chain."""
        self._names = chains
        self._bells: list[asyncio.Event] = []

    def stats(self) -> Mapping[str, Any]:
        return {**self.counts, "out": dict(self.out)}

    async def run(self, runtime: Runtime) -> None:
        """Follow every chain until told to stop. Raises ConfigError for a name that is no chain."""
        following: dict[int, asyncio.Task[None]] = {}

        def begin(chain: ServedChain) -> None:
            task = asyncio.create_task(self._follow(runtime, chain), name=f"follow {chain.name}")
            task.add_done_callback(runtime.end_by_fault)
            following[chain.id] = task

        def end(chain: ServedChain) -> None:
            following.pop(chain.id).cancel()
            self.out.pop(chain.name, None)

        runtime.watch(self._ring)
        doorbell = asyncio.create_task(self._answer(runtime))
        try:
            async with ServedChains(runtime, self._names, begin, end):
                await runtime.stopping.wait()
                # Each ends after the round it is in; a cancelled one leaves nothing half done either.
                await asyncio.gather(*following.values())
        finally:
            doorbell.cancel()
            for task in following.values():
                task.cancel()
            await asyncio.gather(*following.values(), return_exceptions=True)

    async def _follow(self, runtime: Runtime, chain: ServedChain) -> None:
        bell = asyncio.Event()
        self._bells.append(bell)
        loop = asyncio.get_running_loop()
        leader = Leader(listen_dsn(runtime.settings), f"confirmations {chain.name}", self.role)
        stores = SettlementStore(runtime.pool), TransferStore(runtime.pool)
        settlement = Settlement(
            chain.id,
            *stores,
            chain.provider,
            chain.block_seconds,
            numbered=chain.numbered,
            replace_after_blocks=chain.replace_after_blocks,
        )
        heads = asyncio.Event()
        announcing = asyncio.create_task(self._hear(chain, heads))
        next_tidy = loop.time()
        leading: bool | None = None
        try:
            while not runtime.stopping.is_set():
                bell.clear()
                try:
                    led = leading
                    leading = not runtime.registration.paused_by_operator and await leader.leads()
                    if leading != led:
                        logger.info("confirmations {}: {}", chain.name, "follows payments" if leading else "stands by")
                    if not leading:
                        await leader.close()
                        await self._nap(runtime, bell, STANDBY_SECONDS, wake=False)
                        continue
                    if loop.time() >= next_tidy:
                        if alarms := await settlement.tidy():
                            runtime.last_error = "; ".join(alarms)
                            runtime.beat()
                        next_tidy = loop.time() + TIDY_SECONDS
                    out = self.out[chain.name] = await settlement.round()
                    self.counts["rounds"] += 1
                    if out:
                        await self._nap_a_block(runtime, bell, chain, heads)
                    else:
                        idle = min(runtime.config.sweep.interval_seconds, TIDY_SECONDS)
                        await self._nap(runtime, bell, idle, wake=True)
                except DATABASE_GONE as error:
                    logger.warning("confirmations {}: {}; trying again", chain.name, reason(error))
                    await self._nap(runtime, bell, DATABASE_RETRY_SECONDS, wake=False)
                except Exception as error:
                    await self._after_trouble(runtime, bell, chain, error)
        finally:
            self._bells.remove(bell)
            announcing.cancel()
            await leader.close()

    async def _after_trouble(self, runtime: Runtime, bell: asyncio.Event, chain: ServedChain, error: Exception) -> None:
        """Say it and go on: what is out has to be followed, whatever is wrong with one round."""
        pause = NODE_RETRY_SECONDS
        runtime.last_error = f"{chain.name}: {reason(error)}"
        if isinstance(error, WrongNetwork | LyingNode):
            pause = CONTRADICTION_RETRY_SECONDS
            runtime.beat()
            logger.error("confirmations {}: {}; trying again", chain.name, reason(error))
        elif isinstance(error, ChainError):
            logger.warning("confirmations {}: {}; trying again", chain.name, reason(error))
        else:
            logger.opt(exception=error).error("confirmations {}: {}; trying again", chain.name, reason(error))
        await self._nap(runtime, bell, min(pause, 10 * chain.block_seconds), wake=False)

    async def _nap(self, runtime: Runtime, bell: asyncio.Event, seconds: float, *, wake: bool) -> None:
        """Wait; the end of the process cuts it short, and with ``wake`` the bell does too."""
        waited_for = bell if wake else runtime.stopping
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await waited_for.wait()

    async def _hear(self, chain: ServedChain, heads: asyncio.Event) -> None:
        """Set ``heads`` at each block that a node announces, where one does."""
        if chain.numbered is None or not chain.announces:
            return
        async with contextlib.aclosing(chain.numbered.heads()) as announced:
            async for _ in announced:
                heads.set()

    async def _nap_a_block(
        self, runtime: Runtime, bell: asyncio.Event, chain: ServedChain, heads: asyncio.Event
    ) -> None:
        """Until the next block: announced, or as long as one takes."""
        if not chain.announces:
            await self._nap(runtime, bell, chain.block_seconds, wake=False)
            return
        stopping = asyncio.create_task(runtime.stopping.wait())
        head = asyncio.create_task(heads.wait())
        await asyncio.wait([stopping, head], timeout=chain.block_seconds, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        head.cancel()
        heads.clear()

    async def _answer(self, runtime: Runtime) -> None:
        event = runtime.listener.event("transfers")
        while True:
            await event.wait()
            event.clear()
            self._ring()

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()


def create(settings: Settings, *, chains: Sequence[str] | None = None) -> Worker:
    """The worker for ``runtime.serve``. ``chains`` by name; None: every active one. Raises ValueError for an
    unknown crash point."""
    arm(settings.crash_point)
    return Confirmations(chains)
