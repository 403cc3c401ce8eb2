"""The same trial over a real EVM node: the workers, the deposit and the judge are those of trial.py, the ground is
anvil behind a proxy that misbehaves.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from pipeline.local.anvil_proxy import SEND, ProxyFault
from tests.chains.evm.anvil import AnvilError
from tests.chains.provider.evm_network import evm_network
from tests.chaos.evm_world import EvmRules, EvmWorld
from tests.chaos.fleet import Zygote
from tests.chaos.trial import BLOCK_SECONDS, DEPOSIT, Trial, woken_by_bells
from tests.databases import fresh_database

CHEAP, DEAR = 7, 1_100_000
"""Wei for a unit of gas. First offers end at 1,000,000, replacements at twice that."""

EvmScenario = Callable[["EvmTrial"], Coroutine[Any, Any, None]]


@dataclass(eq=False)
class EvmTrial(Trial):
    """A running trial; scenarios act on it."""

    world: EvmWorld
    price: int = CHEAP
    running: asyncio.Event = field(default_factory=asyncio.Event)
    """Blocks are made while it is set."""
    mining: asyncio.Lock = field(default_factory=asyncio.Lock)
    starving: str | None = None
    """Id of a transaction that no block takes while it is named here."""

    async def make_blocks(self) -> None:
        """For ever, one every BLOCK_SECONDS, at the price of the moment."""
        node = self.world.network.node
        while True:
            await self.running.wait()
            async with self.mining:
                if self.running.is_set():
                    await node.call("anvil_setNextBlockBaseFeePerGas", hex(self.price))
                    async with self.without_the_starving():
                        await node.mine()
            await asyncio.sleep(BLOCK_SECONDS)

    @contextlib.asynccontextmanager
    async def without_the_starving(self) -> AsyncIterator[None]:
        """It is in no pool meanwhile; back it comes unless its nonce was used. The workers see nothing of that."""
        if self.starving is None:
            yield
            return
        node, txid = self.world.network.node, self.starving
        async with self.world.network.proxy.undisturbed:
            raw = await node.call("eth_getRawTransactionByHash", txid)
            if raw is not None:
                await node.call("anvil_dropTransaction", txid)
            yield
            if raw is not None and self.starving is not None:
                with contextlib.suppress(AnvilError):
                    await node.call(SEND, raw)

    async def stand_still(self) -> None:
        """No block from now on, not even the one that is being made."""
        self.running.clear()
        async with self.mining:
            pass

    async def until_pooled(self) -> None:
        node = self.world.network.node
        while not int((await node.call("txpool_status"))["pending"], 16):  # noqa: ASYNC110
            await asyncio.sleep(BLOCK_SECONDS / 2)

    async def is_settled(self) -> bool:
        """As on TRON; and an operator may have cancelled a job."""
        row = await self.world.row(
            """
            SELECT (SELECT bool_or(needs_gas OR needs_consolidation) FROM wallets)
                OR EXISTS (SELECT FROM transfers WHERE state NOT IN ('final', 'rejected'))
                OR EXISTS (SELECT FROM nonces WHERE state IN ('reserved', 'void'))
                OR EXISTS (SELECT FROM senders WHERE unknown_below IS NOT NULL)
                OR EXISTS (SELECT FROM job_logs WHERE status NOT IN ('completed', 'failed', 'cancelled')) AS busy,
                (SELECT string_agg(error_message, '; ') FROM job_logs WHERE status = 'failed') AS failed
            """
        )
        assert row["failed"] is None, f"{self.name}: a job failed: {row['failed']}\n{self.log()}"
        return not row["busy"]

    def misbehave(self, faults: Sequence[tuple[ProxyFault, int | None]]) -> None:
        """What the node does to broadcasts, in this order, each so many times."""
        for fault, count in faults:
            self.world.network.proxy.plan(fault, SEND, count)
            if fault is ProxyFault.LATE:
                asyncio.get_running_loop().call_later(0.5, self.world.network.proxy.released.set)

    async def outsider(self, nonce: int) -> None:
        """Somebody else uses a nonce of the gas wallet, at a price that wins, and has it in a block."""
        txid = await self.world.send_unrecorded(nonce, self.world.treasury, 7)
        node = self.world.network.node
        await node.mine()
        assert await node.call("eth_getTransactionReceipt", txid) is not None, "the outsider did not win"
        self.world.outsiders.add(txid)


@dataclass(frozen=True, slots=True)
class EvmPlan:
    """What a trial is to be."""

    name: str
    arms: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    faults: Sequence[tuple[ProxyFault, int | None]] = ()
    scenario: EvmScenario | None = None
    before: EvmScenario | None = None
    """Before the workers start; blocks stand still then."""
    before_restart: Mapping[str, EvmScenario] = field(default_factory=dict)
    crashes: int = 0
    further: Sequence[int] = ()
    """Tokens that the wallet holds beside USDT, raw units: they are moved in one batch."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """What the first processes may sign, beside the usual: ``Trial.restrict``."""


async def run_evm_trial(plan: EvmPlan, server_dsn: str, template: str, zygote: Zygote, directory: Path) -> None:
    """Run one trial to its verdict. Raises AssertionError."""
    rules = EvmRules(block_time=timedelta(seconds=BLOCK_SECONDS))
    async with contextlib.AsyncExitStack() as stack:
        dsn = stack.enter_context(fresh_database(server_dsn, template, plan.name))
        network = await stack.enter_async_context(evm_network())
        connection = await stack.enter_async_context(await AsyncConnection.connect(dsn, autocommit=True))
        world = await EvmWorld.found(connection, network, rules)
        wallet = await world.wallet(usdt=DEPOSIT)
        if plan.further:
            await world.hold_more(wallet, *plan.further)
        await network.finalize()
        before_restart: Mapping[str, Any] = plan.before_restart
        trial = EvmTrial(
            plan.name, world, wallet, dsn, zygote, directory, plan.arms, before_restart, expected=plan.crashes
        )
        trial.further = plan.further
        trial.restrict(**plan.policy)
        if plan.before:
            await plan.before(trial)
        else:
            trial.running.set()
        trial.misbehave(plan.faults)
        await stack.enter_async_context(woken_by_bells(trial))
        tasks = [asyncio.create_task(trial.make_blocks())]
        try:
            for kind in ("confirmations", "consolidation", "gas-topup"):
                await trial.start(kind)
            await world.flag(wallet, gas=not plan.further, consolidation=True)
            if plan.scenario:
                tasks.append(asyncio.create_task(plan.scenario(trial)))
            for task in tasks:
                task.add_done_callback(lambda _: trial.changed.set())
            await trial.until_settled()
            await trial.until_done(*tasks[1:])
            await trial.stop()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for process in trial.processes.values():
                process.kill()
        await trial.judge()
        assert len(trial.crashes) == plan.crashes, f"{plan.name}: crashed {trial.crashes}\n{trial.log()}"
