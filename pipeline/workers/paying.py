"""What the two processes that pay share: the mnemonic, the chains, and an executor around a paying handler.

The mnemonic is read here, in the processes that sign, and nowhere else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from loguru import logger

from pipeline.keys.derivation import Family
from pipeline.keys.signer import LocalSigner, Signer
from pipeline.queue.jobs import Defer, Job, JobType, Outcome
from pipeline.settings import Settings
from pipeline.transfers.crashpoints import arm
from pipeline.transfers.handler import PayingHandler
from pipeline.transfers.send import Sender
from pipeline.transfers.store import TransferStore
from pipeline.transfers.upkeep import Upkeep
from pipeline.transfers.upkeep_store import UpkeepStore
from pipeline.workers.chains import ServedChain, ServedChains
from pipeline.workers.executor import CHANNELS, Executor
from pipeline.workers.runtime import DATABASE_GONE, Runtime, reason

UPKEEP_SECONDS = 15.0
"""Between two looks for what needs a signature and was not rung for."""
UPKEEP_RETRY_SECONDS = 1.0
SIGNATURES = "signatures"
"""Rung when something that is out needs another signature (EVM)."""

HandlerFactory = Callable[[Mapping[int, Sender]], PayingHandler]


class PayingExecutor(Executor):
    """An executor whose handler is made once the chains are open. Beside its jobs it signs what stuck payments need,
    also while the system is paused: what is out is followed to its end."""

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
        super().__init__(job_type, _no_handler, blockchain=None if chains is None else ",".join(chains))

    async def run(self, runtime: Runtime) -> None:
        """Work on every chain as soon as a node of it answers. Raises ConfigError for a name that is no chain."""
        store, upkeep_store = TransferStore(runtime.pool), UpkeepStore(runtime.pool)
        senders: dict[int, Sender] = {}
        upkeeps: dict[int, Upkeep] = {}
        handler = self._make_handler(senders)

        def begin(chain: ServedChain) -> None:
            sender = senders[chain.id] = self._sender(runtime.settings, store, chain)
            if chain.numbered is not None:
                upkeeps[chain.id] = Upkeep(chain.id, handler.kind, upkeep_store, sender, chain.numbered)
            self.serve(list(senders))
            runtime.listener.event(SIGNATURES).set()
            logger.debug("{}: works on {}", self.type, chain.name)

        def end(chain: ServedChain) -> None:
            # Batches under way have their sender; what is claimed from now on is not of this chain.
            senders.pop(chain.id)
            upkeeps.pop(chain.id, None)
            self.serve(list(senders))

        self.handler, self.chain_ids = handler.handle, []
        async with ServedChains(runtime, self._chains, begin, end):
            upkeep = asyncio.create_task(self._keep_up(runtime, upkeeps))
            try:
                await super().run(runtime)
            finally:
                upkeep.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await upkeep

    async def _keep_up(self, runtime: Runtime, upkeeps: Mapping[int, Upkeep]) -> None:
        """Sign what stuck payments need, when it is rung for and now and then. May be cut off at any place."""
        bell = runtime.listener.event(SIGNATURES)
        while True:
            bell.clear()
            pause = UPKEEP_SECONDS
            for upkeep in list(upkeeps.values()):
                try:
                    self.counts["upkeep_signed"] += await upkeep.round()
                except DATABASE_GONE as error:
                    logger.warning("{}: {}; trying again", self.type, reason(error))
                    pause = UPKEEP_RETRY_SECONDS
                except Exception as error:
                    logger.opt(exception=error).error("{}: {}; trying again", self.type, reason(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await bell.wait()

    def _sender(self, settings: Settings, store: TransferStore, chain: ServedChain) -> Sender:
        pinned = settings.treasury.get(chain.name)
        treasury = None if pinned is None else chain.provider.validate_address(pinned)
        return Sender(store, chain.provider, self._signer, Family(chain.family), treasury)


async def _no_handler(jobs: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
    """Stands in until the chains are open, and is never called."""
    for job in jobs:
        yield job, Defer(1.0, "the chains are not open yet")
