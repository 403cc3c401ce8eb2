"""What the two processes that pay share: the mnemonic, the chains, and an executor around a paying handler.

The mnemonic is read here, in the processes that sign, and nowhere else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from loguru import logger

from pipeline.chains.errors import ChainError
from pipeline.chains.provider import Provider
from pipeline.config import ConfigError
from pipeline.keys.derivation import Family
from pipeline.keys.signer import LocalSigner, Signer
from pipeline.queue.jobs import Defer, Job, JobType, Outcome
from pipeline.settings import Settings
from pipeline.transfers.crashpoints import arm
from pipeline.transfers.handler import PayingHandler
from pipeline.transfers.intents import Kind
from pipeline.transfers.prices import PriceWatch
from pipeline.transfers.send import Sender
from pipeline.transfers.store import TransferStore
from pipeline.transfers.upkeep import Upkeep
from pipeline.transfers.upkeep_store import UpkeepStore
from pipeline.workers.chains import (
    ChainRow,
    Chains,
    OpenChain,
    active_chains,
    chain_opener,
    complain,
    until_the_network_is_right,
)
from pipeline.workers.executor import CHANNELS, Executor
from pipeline.workers.runtime import DATABASE_GONE, Runtime, Stopped, reason

UPKEEP_SECONDS = 15.0
"""Between two looks for what needs a signature and was not rung for."""
UPKEEP_RETRY_SECONDS = 1.0
SIGNATURES = "signatures"
"""Rung when something that is out needs another signature."""

HandlerFactory = Callable[[Mapping[int, Sender]], PayingHandler]


class PayingExecutor(Executor):
    """An executor that serves the chains as they stand in the database, each from when a node of it answers. Of those
    that are switched off it signs only what money that is out needs."""

    channels: Sequence[str] = (*CHANNELS, SIGNATURES)

    def __init__(
        self,
        settings: Settings,
        job_type: JobType,
        make_handler: HandlerFactory,
        *,
        chains: Sequence[str] | None = None,
    ) -> None:
        """``chains`` by name; None: every active one. Raises SettingsError without a mnemonic, InvalidMnemonic,
        ValueError for an unknown crash point."""
        arm(settings.crash_point)
        self._signer: Signer = LocalSigner(settings.mnemonic().get_secret_value())
        self._make_handler = make_handler
        self._chains = chains
        self._senders: dict[int, Sender] = {}
        super().__init__(job_type, _no_handler, chain_ids=(), blockchain=None if chains is None else ",".join(chains))

    async def run(self, runtime: Runtime) -> None:
        """Work on the chains while they come, change and go. Raises ConfigError for a name that is no chain and for a
        treasury that is not pinned or cannot be one."""
        settings, store = runtime.settings, TransferStore(runtime.pool)

        def begin(row: ChainRow, provider: Provider) -> Paying:
            treasury = _treasury(settings, row, provider)
            sender = Sender(store, provider, self._signer, Family(row.family), treasury)
            return Paying(runtime, row, provider, sender, handler.kind, self._serve)

        handler = self._make_handler(self._senders)
        self.handler = handler.handle
        open_chain = chain_opener(settings)
        for row in await runtime.persist("reading chains", lambda: active_chains(runtime.pool, self._chains)):
            await _check_treasury(settings, row, open_chain)
        chains = Chains(runtime, open_chain, self._chains, begin, with_money_out=True)
        following = asyncio.create_task(chains.follow())
        following.add_done_callback(lambda task: runtime.stop())
        runtime.listener.watch(SIGNATURES, chains.ring)
        try:
            await super().run(runtime)
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError, Stopped):
                await following
            await chains.close()

    def _serve(self, chain_id: int, sender: Sender | None) -> None:
        """From now on pay on this chain by ``sender``; None: not at all."""
        if sender is None:
            self._senders.pop(chain_id, None)
        else:
            self._senders[chain_id] = sender
        self.serve_chains(list(self._senders))


class Paying:
    """One chain to pay on: served as soon as a node of the right network answers. Beside the jobs it signs what stuck
    payments need (EVM), also while the system is paused and where the chain was switched off: what is out is followed
    to its end."""

    def __init__(
        self,
        runtime: Runtime,
        row: ChainRow,
        provider: Provider,
        sender: Sender,
        kind: Kind,
        serve: Callable[[int, Sender | None], None],
    ) -> None:
        self.row = row
        self._runtime = runtime
        self._provider = provider
        self._sender = sender
        sender.prices = PriceWatch(self._tell)
        self._serve = serve
        self._kind = kind
        self._bell = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"paying on {row.name}")

    def _tell(self, alarm: str) -> None:
        """Show it in the registry."""
        self._runtime.last_error = alarm
        self._runtime.beat()

    def ring(self) -> None:
        """Something that is out may need another signature. Jobs have a bell of their own."""
        self._bell.set()

    async def close(self) -> None:
        """Take no new job for this chain; a payment that is being made is finished at the nodes it began with."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Stopped):
            await self.task
        self._serve(self.row.id, None)
        await self._provider.close()

    async def _run(self) -> None:
        await until_the_network_is_right(self._runtime, self.row, self._provider)
        if self.row.is_active:
            self._serve(self.row.id, self._sender)
        if self._sender.numbered is not None:
            store = UpkeepStore(self._runtime.pool)
            await self._keep_up(Upkeep(self.row.id, self._kind, store, self._sender, self._sender.numbered))

    async def _keep_up(self, upkeep: Upkeep) -> None:
        """Sign what stuck payments need, when it is rung for and now and then. May be cut off at any place."""
        while True:
            self._bell.clear()
            pause = UPKEEP_SECONDS
            try:
                await upkeep.round()
            except DATABASE_GONE as error:
                logger.warning("{} {}: {}; trying again", self._kind, self.row.name, reason(error))
                pause = UPKEEP_RETRY_SECONDS
            except ChainError as error:
                complain(self._runtime, self.row, error, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._bell.wait()


def _treasury(settings: Settings, row: ChainRow, provider: Provider) -> str | None:
    """The pinned treasury in its canonical form; None: our own index 1.

    A pin hangs on the chain's name, and whoever can write the database can rename a chain: so as soon as one chain has
    a pin, none is served without. Raises ConfigError, InvalidAddress."""
    pinned = settings.treasury.get(row.name)
    if pinned is None and settings.treasury:
        variable = f"FLAGPOST_TREASURY_{row.name.upper().replace('-', '_')}"
        raise ConfigError(
            f"chain {row.name} has no pinned treasury, and {', '.join(sorted(settings.treasury))} has: set {variable} "
            "to the address that consolidations go to. If the chain was renamed, find out by whom"
        )
    return None if pinned is None else provider.validate_address(pinned)


async def _check_treasury(settings: Settings, row: ChainRow, open_chain: OpenChain) -> None:
    """At the start a wrong treasury ends the process; a chain that cannot be opened is not the treasury's fault."""
    try:
        provider = open_chain(row)
    except ValueError:
        return
    try:
        _treasury(settings, row, provider)
    finally:
        await provider.close()


async def _no_handler(jobs: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
    """Stands in until the chains are open, and is never called."""
    for job in jobs:
        yield job, Defer(1.0, "the chains are not open yet")
