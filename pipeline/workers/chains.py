"""The work of a process on each of its chains, which follows their rows as they come, change and go.

row appears ──▶ started ──(fault)──▶ started again after a pause ──(row changes or goes)──▶ closed
            └──(configuration it cannot work with)──▶ refused until the row changes
"""

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from loguru import logger

from pipeline.catalog.chains import ChainRow, OpenChain, working_chains
from pipeline.chains.errors import ChainError, InconsistentNode, WrongNetwork
from pipeline.chains.provider import Provider
from pipeline.config import ConfigError
from pipeline.printable import reason
from pipeline.workers.process import Stopped
from pipeline.workers.runtime import Runtime

RETRY_SECONDS = (2.0, 4.0, 8.0, 16.0, 30.0)
"""Waits after the first, second, … call in a row that no node answered; the last one repeats."""
ALARM_SECONDS = 60.0
"""Without a sound answer, after which it is an alarm."""
LASTING_SECONDS = 60.0
"""Work that went well for so long begins again with the shortest wait."""


class ChainWork(ABC):
    """Work on one chain, a loop. It begins by ``_begin``, last of what ``__init__`` does, and goes on until it is
    closed."""

    task: asyncio.Task[None]

    def __init__(self, runtime: Runtime, row: ChainRow, provider: Provider) -> None:
        self.row = row
        self.provider = provider
        self._runtime = runtime
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something may have changed: do now what there is to do."""
        self._woken.set()

    async def close(self) -> None:
        """End the work, close the connections to the nodes. Whatever it was at is taken up from the rows."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Stopped):
            await self.task
        self._ended()
        await self.provider.close()

    def _begin(self, name: str) -> None:
        """``name`` is the task's."""
        self.task = asyncio.create_task(keep_going(self._runtime, self.row, self._run), name=name)

    @abstractmethod
    async def _run(self) -> None:
        """Work until told to stop. What it raises, but Stopped, is logged, and it is called again."""

    def _ended(self) -> None:  # noqa: B027 - most have nothing to do
        """The loop is over; the nodes can still be asked."""


S = TypeVar("S", bound=ChainWork)


class Chains(Generic[S]):
    """One ``S`` for each chain that a process works on, made anew when its row changes."""

    def __init__(
        self,
        runtime: Runtime,
        open_chain: OpenChain,
        names: Sequence[str] | None,
        start: Callable[[ChainRow, Provider], S],
        *,
        with_money_out: bool = False,
    ) -> None:
        """``names`` None: every active chain. ``start`` raises ValueError, ChainError or ConfigError for a
        configuration that it cannot work with."""
        self.served: dict[int, S] = {}
        self._runtime = runtime
        self._open_chain = open_chain
        self._names = names
        self._start = start
        self._with_money_out = with_money_out
        self._refused: dict[int, ChainRow] = {}
        self._changed = asyncio.Event()

    async def serve(self, channel: str) -> None:
        """``follow`` until told to stop, and wake every chain for NOTIFY ``channel`` and whenever something may have
        changed. What is under way then ends by itself within the grace. Raises what ``follow`` raises."""
        self._runtime.watch(self.wake)
        self._runtime.listener.watch(channel, self.wake)
        tasks = [
            asyncio.create_task(self.follow()),
            asyncio.create_task(self._runtime.stopping.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Stopped:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.wake()
            await self.close(self._runtime.grace_seconds)

    async def follow(self) -> None:
        """Until cancelled: compare with the rows now and whenever the configuration changes. A chain that cannot be
        opened is left alone until its row changes. Raises UnknownChain, and what ends a chain's work."""
        self._runtime.watch(self._changed.set)
        while True:
            self._changed.clear()
            await self.compare()
            with contextlib.suppress(TimeoutError):
                # The NOTIFY may be lost: a chain that was added is served a heartbeat later then.
                async with asyncio.timeout(self._runtime.config.heartbeat_seconds):
                    await self._changed.wait()

    async def compare(self) -> None:
        """Start, restart and close work so that it is that of the rows."""
        rows = await self._runtime.persist(
            "reading chains",
            lambda: working_chains(self._runtime.pool, self._names, with_money_out=self._with_money_out),
        )
        wanted = {row.id: row for row in rows}
        for chain_id, one in list(self.served.items()):
            if one.task.done():
                one.task.result()  # it ends by an error only
            if wanted.get(chain_id) != one.row:
                logger.info("{} {}: its row has changed", self._runtime.worker.type, one.row.name)
                await self.served.pop(chain_id).close()
                all_is_well(self._runtime, one.row)
        for chain_id, row in list(self._refused.items()):
            if wanted.get(chain_id) != row:
                del self._refused[chain_id]
                all_is_well(self._runtime, row)
        if not rows:
            said = "{}: there is no active chain: flagpost chains enable, or flagpost chains add"
            logger.warning(said, self._runtime.worker.type)
        for row in rows:
            if row.id not in self.served and self._refused.get(row.id) != row:
                self._begin(row)

    async def close(self, grace_seconds: float = 0.0) -> None:
        """End all work; what has not ended by itself after ``grace_seconds`` is cancelled."""
        if self.served and grace_seconds > 0:
            await asyncio.wait([one.task for one in self.served.values()], timeout=grace_seconds)
        for one in self.served.values():
            await one.close()

    def troubles(self) -> Mapping[str, Mapping[str, str]]:
        """By chain, the nodes that failed lately: for worker_registry.stats."""
        found = {one.row.name: one.provider.troubles() for one in self.served.values()}
        return {name: nodes for name, nodes in found.items() if nodes}

    def wake(self) -> None:
        """Wake the work on every chain."""
        for one in self.served.values():
            one.wake()

    def _begin(self, row: ChainRow) -> None:
        try:
            one = self._start(row, self._open_chain(row))
        except (ValueError, ChainError, ConfigError) as error:
            self._refused[row.id] = row
            self._runtime.troubles.say(_source(row), f"{row.name}: {reason(error)}")
            said = "{} {}: not served until its configuration changes: {}"
            logger.error(said, self._runtime.worker.type, row.name, reason(error))
            return
        one.task.add_done_callback(lambda _: self._changed.set())
        self.served[row.id] = one


async def keep_going(runtime: Runtime, row: ChainRow, work: Callable[[], Awaitable[None]]) -> None:
    """The work on one chain, begun anew after any error that nobody expected: it is logged with its traceback and shown
    in worker_registry, the pause grows, and the other chains of this process go on. Returns when the work does; raises
    Stopped."""
    failures = 0
    while True:
        began = time.monotonic()
        try:
            await work()
        except Stopped:
            raise
        except Exception as error:  # one chain's fault must not end the work on the others
            if time.monotonic() - began > LASTING_SECONDS:
                failures = 0
            seconds = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
            failures += 1
            # Nothing takes it back before the process ends: whoever is to report it has to see it.
            runtime.troubles.say(f"fault on {row.name}", f"{row.name}: {type(error).__name__}: {reason(error)}")
            said = "{} {}: an unexpected error: {}; its work begins anew in {:g} s"
            logger.opt(exception=error).error(said, runtime.worker.type, row.name, reason(error), seconds)
            await runtime.sleep(seconds)
        else:
            return


async def until_the_network_is_right(runtime: Runtime, row: ChainRow, provider: Provider) -> None:
    """Wait until a node of the right network answers, and say why it takes so long; the row may be corrected meanwhile.
    Raises Stopped."""
    unanswered = 0
    while True:
        try:
            await provider.check_network()
        except ChainError as error:
            seconds = RETRY_SECONDS[min(unanswered, len(RETRY_SECONDS) - 1)]
            unanswered += 1
            complain(runtime, row, error, seconds)
            await runtime.sleep(seconds)
        else:
            all_is_well(runtime, row)
            return


def all_is_well(runtime: Runtime, row: ChainRow) -> None:
    """What ``complain`` said of the chain is over."""
    runtime.troubles.say(_source(row), "")


def _source(row: ChainRow) -> str:
    return f"chain {row.id}"


def complain(
    runtime: Runtime, row: ChainRow, error: Exception, retry_seconds: float, lasting_seconds: float = 0.0
) -> None:
    """Say what is wrong with a chain, its nodes or what the database refuses of them, in the log and in
    worker_registry. What has lasted for ALARM_SECONDS is an error, and says what to do."""
    said = reason(error)
    if lasting_seconds >= ALARM_SECONDS:
        variable = f"FLAGPOST_NODES_{row.name.upper().replace('-', '_')}"
        said = (
            f"for {lasting_seconds:.0f} s nothing of this chain could be read or recorded: {said}. If it stays so, "
            f"name another node in {variable} or chains.nodes"
        )
    runtime.troubles.say(_source(row), f"{row.name}: {said}")
    serious = isinstance(error, WrongNetwork | InconsistentNode) or not isinstance(error, ChainError)
    level = "ERROR" if serious or lasting_seconds >= ALARM_SECONDS else "WARNING"
    logger.log(level, "{} {}: {}; trying again in {:g} s", runtime.worker.type, row.name, said, retry_seconds)
