"""Injects faults into the local nodes: drawn from a seed, each for a few calls and a limited time.

Workers are unchanged; a node answers them late, falsely, with another transaction's answer, or not at all. A fault that
no call has met by the next draw is removed: else the faults of an idle minute would all meet the last payment. Only the
first fault of each network takes any call, so that the shortest run has at least one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Protocol

from pipeline.chains.values import Family
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.faults import BROADCAST_ONLY, FaultKind
from pipeline.local.anvil_proxy import SEND, FaultProxy, Plan
from pipeline.local.anvil_proxy import ProxyFault as EvmFault
from pipeline.local.fleet import Fleet
from pipeline.local.network import LocalNetwork
from pipeline.local.procfile import Phase
from pipeline.local.tron import TronNetwork

BROADCAST = "wallet/broadcasthex"
EVERY_SECONDS = 0.5
"""Between two draws for a network."""
SHARE = 0.5
"""Of the draws that inject a fault."""
LATE_SECONDS = (0.2, 0.7, 2.5)
BAN_SECONDS = 2.0
"""Of an EVM node, which is the only one of its network here. TRON's are drawn."""


class FaultInjector(Protocol):
    """Injects faults into the nodes of one network."""

    async def inject(self, dice: Random) -> None:
        """Remove the last fault and draw the next one or none; until a call has met one, a fault for any call."""

    async def clear(self) -> int:
        """Remove all faults. Returns how many calls have met one since the start."""


async def inject_faults(injectors: Sequence[FaultInjector], seed: int) -> None:
    """Draw faults for every network until cancelled."""
    dice = Random(seed)  # noqa: S311 - repeatable on purpose, no secret
    while True:
        for injector in injectors:
            await injector.inject(dice)
        await asyncio.sleep(EVERY_SECONDS)


async def kill_workers(fleet: Fleet, every: float, seed: int) -> None:
    """SIGKILL one worker every so many seconds and start it again, until cancelled."""
    dice = Random(seed)  # noqa: S311 - repeatable on purpose, no secret
    while True:
        await asyncio.sleep(every)
        await fleet.start([await fleet.kill(dice.choice(fleet.names(Phase.WORK)))])


@asynccontextmanager
async def fault_injector(network: LocalNetwork) -> AsyncIterator[FaultInjector]:
    """An injector for a network's node. ``network.node_url`` may change: workers must be given it after this."""
    if isinstance(network, TronNetwork):
        yield TronFaults(network.client)
    elif network.family is Family.EVM:
        async with FaultProxy.before(network.url) as proxy:
            network.node_url = proxy.url
            yield EvmFaults(proxy)
    else:
        raise ValueError(f"no fault injector exists for a node of {network.chain}")


class TronFaults:
    """Through the control API of the simulated network."""

    def __init__(self, client: DevnetClient) -> None:
        self._client = client
        self._met = 0
        self._rule: tuple[int, int] | None = None
        """The current one: its id, and how many calls it is for."""

    async def inject(self, dice: Random) -> None:
        await self._end()
        fault = tron_fault(dice, nodes=("main",))
        if not self._met:
            fault = {"fault": str(FaultKind.LOST_REPLY), "path": "*", "node": "main", "count": 1}
        if dice.random() < SHARE or not self._met:
            count = fault["count"]
            self._rule = await self._client.add_fault(FaultKind(fault.pop("fault")), **fault), count

    async def clear(self) -> int:
        await self._end()
        await self._client.clear_faults()
        return self._met

    async def _end(self) -> None:
        if self._rule is None:
            return
        (rule, count), self._rule = self._rule, None
        left = [one["count"] for rules in (await self._client.faults()).values() for one in rules if one["id"] == rule]
        await self._client.clear_faults(rule=rule)
        self._met += count - sum(left)


class EvmFaults:
    """Through a proxy in front of the node."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._met = 0
        self._plan: tuple[Plan, int] | None = None
        """The current one, and how many calls it is for."""

    async def inject(self, dice: Random) -> None:
        self._end()
        fault = evm_fault(dice)
        if not self._met:
            fault = {"fault": str(EvmFault.LOST_REPLY), "method": None, "count": 1}
        if dice.random() < SHARE or not self._met:
            kind, count = EvmFault(fault["fault"]), fault["count"]
            seconds = BAN_SECONDS if kind is EvmFault.BANNED else fault.get("seconds")
            self._plan = self._proxy.plan(kind, fault["method"], count, seconds=seconds), count

    async def clear(self) -> int:
        self._end()
        self._proxy.calm()
        return self._met

    def _end(self) -> None:
        if self._plan is None:
            return
        (plan, count), self._plan = self._plan, None
        left = plan.left or 0
        if left:
            self._proxy.plans.remove(plan)
        self._met += count - left


def tron_fault(dice: Random, *, nodes: Sequence[str] | Sequence[int]) -> dict[str, Any]:
    """Fields of :class:`pipeline.devnet.faults.Fault`: ``fault`` is its kind, ``node`` one of ``nodes``."""
    fault = dice.choice([one for one in FaultKind if one is not FaultKind.FALSE_REPLY])
    anywhere = fault not in BROADCAST_ONLY and fault is not FaultKind.FALSE_TXID
    path = dice.choice([BROADCAST, BROADCAST, "wallet/*", "walletsolidity/*"]) if anywhere else BROADCAST
    drawn = {"fault": str(fault), "path": path, "node": dice.choice(nodes), "count": dice.randint(1, 3)}
    if fault in (FaultKind.LATE_REPLY, FaultKind.LATE_REQUEST, FaultKind.BANNED, FaultKind.SUSPENDED):
        drawn["seconds"] = dice.choice(LATE_SECONDS)
    if fault is FaultKind.HTML:
        drawn["status"] = dice.choice([200, 502])
    if fault is FaultKind.FALSE_CODE:
        codes = ["SIGERROR", "CONTRACT_VALIDATE_ERROR", "DUP_TRANSACTION_ERROR", "TAPOS_ERROR", "OTHER_ERROR"]
        drawn |= {"code": dice.choice(codes), "process": dice.random() < 0.5}
    return drawn


def evm_fault(dice: Random) -> dict[str, Any]:
    """``fault``, ``method`` and ``count`` of a plan of the proxy, and ``seconds`` if it is LATE."""
    fault = dice.choice([one for one in EvmFault if one is not EvmFault.NO_BATCHES])
    everywhere = [SEND, SEND, None, "eth_getTransactionReceipt", "eth_getBlockByNumber", "eth_getTransactionCount"]
    method = dice.choice(everywhere)
    if fault in (EvmFault.SWALLOWED, EvmFault.FALSE_HASH):
        method = SEND
    if fault in (EvmFault.NO_RECEIPTS, EvmFault.OTHER_RECEIPT):
        method = "eth_getTransactionReceipt"
    drawn: dict[str, Any] = {"fault": str(fault), "method": method, "count": dice.randint(1, 3)}
    if fault is EvmFault.LATE:
        drawn["seconds"] = dice.choice(LATE_SECONDS)
    return drawn
