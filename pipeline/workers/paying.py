"""What the two processes that pay share: the mnemonic, the chains, and an executor around a paying handler.

The mnemonic is read here, in the processes that sign, and nowhere else.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from pipeline.keys.derivation import Family
from pipeline.keys.signer import LocalSigner, Signer
from pipeline.queue.jobs import Defer, Job, JobType, Outcome
from pipeline.settings import Settings
from pipeline.transfers.crashpoints import arm
from pipeline.transfers.handler import PayingHandler
from pipeline.transfers.send import Sender
from pipeline.transfers.store import TransferStore
from pipeline.workers.chains import ServedChain, close_chains, open_chains
from pipeline.workers.executor import Executor
from pipeline.workers.runtime import Runtime

HandlerFactory = Callable[[Mapping[int, Sender]], PayingHandler]


class PayingExecutor(Executor):
    """An executor whose handler is made once the chains are open."""

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
        """Open the chains, then work. Raises WrongNetwork, InvalidAddress for a pinned treasury, ValueError."""
        opened = await open_chains(runtime, self._chains)
        try:
            store = TransferStore(runtime.pool)
            senders = {chain.id: self._sender(runtime.settings, store, chain) for chain in opened}
            self.chain_ids = list(senders)
            self.handler = self._make_handler(senders).handle
            await super().run(runtime)
        finally:
            await close_chains(opened)

    def _sender(self, settings: Settings, store: TransferStore, chain: ServedChain) -> Sender:
        pinned = settings.treasury.get(chain.name)
        treasury = None if pinned is None else chain.provider.validate_address(pinned)
        return Sender(store, chain.provider, self._signer, Family(chain.family), treasury)


async def _no_handler(jobs: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
    """Stands in until the chains are open, and is never called."""
    for job in jobs:
        yield job, Defer(1.0, "the chains are not open yet")
