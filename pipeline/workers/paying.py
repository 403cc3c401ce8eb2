"""What the two processes that pay share: the mnemonic, the chains, and an executor around a paying handler.

The mnemonic is read here, in the processes that sign, and nowhere else.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loguru import logger

from pipeline.catalog.chains import ChainRow, chain_opener
from pipeline.chains.errors import ChainError
from pipeline.chains.kinds import Kind
from pipeline.chains.provider import Provider
from pipeline.db.errors import DATABASE_GONE
from pipeline.payments.crashpoints import arm
from pipeline.payments.discipline.discipline import discipline_of
from pipeline.payments.send.fee_alarm import FeeAlarm
from pipeline.payments.send.handler import PayingHandler
from pipeline.payments.send.replacement_store import ReplacementStore
from pipeline.payments.send.replacements import Replacements
from pipeline.payments.send.sender import Sender
from pipeline.payments.send.store import TransferStore
from pipeline.printable import reason
from pipeline.queue.jobs import JobType
from pipeline.settings import Settings
from pipeline.signing.errors import PolicyError
from pipeline.signing.keyring import Keyring
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.local import LocalSigner
from pipeline.signing.networks import Network
from pipeline.signing.policy import NetworkPolicy, Policy, load_policy
from pipeline.signing.rules import SigningRules
from pipeline.workers.chains import Chains, ChainWork, all_is_well, complain, until_the_network_is_right
from pipeline.workers.executor import CHANNELS, Executor
from pipeline.workers.process import Stopped
from pipeline.workers.runtime import Runtime

REPLACEMENT_SECONDS = 15.0
"""Between two checks for what needs a signature and no NOTIFY told of."""
REPLACEMENT_RETRY_SECONDS = 1.0
SIGNATURES = "signatures"
"""Rung when something that is out needs another signature."""

TOGETHER = 64
"""Jobs: while some are priced, others are signed and sent."""

HandlerFactory = Callable[[Mapping[int, Sender]], PayingHandler]


class PayingExecutor(Executor):
    """An executor that serves the chains as they stand in the database, each from when a node of it answers. Of those
    that are switched off it signs only what money that is out needs."""

    channels: Sequence[str] = (*CHANNELS, SIGNATURES)
    together = TOGETHER

    def __init__(
        self,
        settings: Settings,
        job_type: JobType,
        make_handler: HandlerFactory,
        *,
        chains: Sequence[str] | None = None,
    ) -> None:
        """``chains`` by name; None: every active one. Raises SettingsError without a mnemonic, InvalidMnemonic,
        PolicyError, ValueError for an unknown crash point."""
        arm(settings.crash_point)
        self._keyring = Keyring(settings.mnemonic().get_secret_value())
        self._policy = load_policy(settings.signing_policy, settings.treasury)
        self._ledger = SpendingLedger(settings.spending_ledger)
        self._names = chains
        self._following: Chains[Paying] | None = None
        self._senders: dict[int, Sender] = {}
        handler = make_handler(self._senders)
        self._kind, self._seen = handler.kind, handler.stats
        blockchain = None if chains is None else ",".join(chains)
        super().__init__(job_type, handler.handle, chain_ids=(), blockchain=blockchain)

    def stats(self) -> Mapping[str, Any]:
        """What an executor counts, what its handler has seen, and nodes that failed lately."""
        return {
            **super().stats(),
            **self._seen(),
            "nodes": {} if self._following is None else self._following.troubles(),
        }

    def at_once(self) -> int:
        """What the nodes of the chains answer in time."""
        return max(1, sum(sender.at_once for sender in self._senders.values()))

    async def run(self, runtime: Runtime) -> None:
        """Work on the chains while they come, change and go; one that this host's policy does not have is not served.
        Raises ConfigError for a name that is no chain."""
        settings, store = runtime.settings, TransferStore(runtime.pool)

        def begin(row: ChainRow, provider: Provider) -> Paying:
            rules = SigningRules(_policy_of(self._policy, row), self._ledger)
            signer = LocalSigner(self._keyring, rules)
            sender = Sender(store, provider, signer, rules, discipline_of(provider))
            return Paying(runtime, row, provider, sender, self._kind, self._serve)

        open_chain = chain_opener(settings)
        chains = self._following = Chains(runtime, open_chain, self._names, begin, with_money_out=True)
        following = asyncio.create_task(chains.follow())
        following.add_done_callback(lambda task: runtime.stop())
        runtime.listener.watch(SIGNATURES, chains.wake)
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


class Paying(ChainWork):
    """One chain to pay on: served as soon as a node of the right network answers. Beside the jobs it finishes what was
    asked to be signed and what stuck payments need (EVM), also while the system is paused and where the chain was
    switched off: what is out is followed to its end."""

    def __init__(
        self,
        runtime: Runtime,
        row: ChainRow,
        provider: Provider,
        sender: Sender,
        kind: Kind,
        serve: Callable[[int, Sender | None], None],
    ) -> None:
        super().__init__(runtime, row, provider)
        self._sender = sender
        sender.fee_alarm = FeeAlarm(self._tell)
        self._serve = serve
        self._kind = kind
        self._begin(f"paying on {row.name}")

    def _tell(self, alarm: str) -> None:
        """Show it in the registry."""
        self._runtime.troubles.say(f"fees of {self.row.name}", alarm)

    def _ended(self) -> None:
        """Take no new job for this chain; a payment that is being made is finished at the nodes it began with."""
        self._serve(self.row.id, None)

    async def _run(self) -> None:
        await until_the_network_is_right(self._runtime, self.row, self.provider)
        if self.row.is_active:
            self._serve(self.row.id, self._sender)
        await self._sign_wanted(
            Replacements(self.row.id, self._kind, ReplacementStore(self._runtime.pool), self._sender)
        )

    async def _sign_wanted(self, replacements: Replacements) -> None:
        """Sign what is out or was asked for, at NOTIFY and now and then. May be cut off at any place."""
        while True:
            self._woken.clear()
            pause = REPLACEMENT_SECONDS
            try:
                await replacements.round()
            except DATABASE_GONE as error:
                logger.warning("{} {}: {}; trying again", self._kind, self.row.name, reason(error))
                pause = REPLACEMENT_RETRY_SECONDS
            except ChainError as error:
                complain(self._runtime, self.row, error, pause)
            else:
                all_is_well(self._runtime, self.row)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()


def _policy_of(policy: Policy, row: ChainRow) -> NetworkPolicy:
    """By what the network is, and not by its row's name. Raises PolicyError."""
    try:
        network = Network.of(row.family, row.network_id)
    except ValueError as error:
        raise PolicyError(f"chain {row.name}: {error}") from None
    return policy.of(network, row.name)
