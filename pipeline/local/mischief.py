"""Nodes that misbehave, as real ones do: each fault is drawn from a seed, meets a few calls, and is over.

The workers are left as they are; what they are told by a node is late, false, somebody else's, or nothing. Few faults
wait for their calls at any time: else those of a slow minute would meet the last payment one after the other.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Protocol

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.faults import BROADCAST_ONLY, FaultKind
from pipeline.keys.derivation import Family
from pipeline.local.anvil_proxy import SEND, FaultProxy
from pipeline.local.anvil_proxy import Fault as EvmFault
from pipeline.local.network import LocalNetwork
from pipeline.local.tron import TronNetwork

BROADCAST = "wallet/broadcasthex"
EVERY_SECONDS = 0.5
"""Between two faults of a network."""
MOST_WAITING = 4
"""Calls yet to be spoilt at one network, past which no fault is added."""
LATE_SECONDS = (0.2, 0.7, 2.5)
BAN_SECONDS = 2.0
"""Of an EVM node, which is the only one of its network here. TRON's are drawn."""


class Mischief(Protocol):
    """What can be done to the nodes of one network."""

    async def spoil(self, dice: Random) -> None:
        """The next fault, unless enough of them wait for their calls."""

    async def calm(self) -> int:
        """End all of them. Returns how many calls they met since the start."""


async def misbehave(mischiefs: Sequence[Mischief], seed: int) -> None:
    """Until cancelled: a fault for every network, again and again."""
    dice = Random(seed)  # noqa: S311 - a rehearsal, repeatable on purpose
    while True:
        for one in mischiefs:
            await one.spoil(dice)
        await asyncio.sleep(EVERY_SECONDS)


@asynccontextmanager
async def mischief_at(network: LocalNetwork) -> AsyncIterator[Mischief]:
    """Make a network's node one that can misbehave; workers are to be told of ``network.node_url`` after that."""
    if isinstance(network, TronNetwork):
        yield TronMischief(network.client)
    elif network.family is Family.EVM:
        async with FaultProxy.before(network.url) as proxy:
            network.node_url = proxy.url
            yield EvmMischief(proxy)
    else:
        raise ValueError(f"nobody knows how a node of {network.chain} misbehaves")


class TronMischief:
    """By the simulated network's own switches."""

    def __init__(self, client: DevnetClient) -> None:
        self._client = client
        self._ordered = 0

    async def spoil(self, dice: Random) -> None:
        if await self._waiting() >= MOST_WAITING:
            return
        fault = tron_fault(dice, nodes=("main",))
        count = fault["count"]
        await self._client.add_fault(FaultKind(fault.pop("fault")), **fault)
        self._ordered += count

    async def calm(self) -> int:
        waiting = await self._waiting()
        await self._client.clear_faults()
        return self._ordered - waiting

    async def _waiting(self) -> int:
        return sum(int(rule["count"]) for rules in (await self._client.faults()).values() for rule in rules)


class EvmMischief:
    """By a proxy in front of the node."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._ordered = 0

    async def spoil(self, dice: Random) -> None:
        if self._waiting() >= MOST_WAITING:
            return
        fault = evm_fault(dice)
        kind, count = EvmFault(fault["fault"]), fault["count"]
        seconds = BAN_SECONDS if kind is EvmFault.BANNED else fault.get("seconds")
        self._proxy.plan(kind, fault["method"], count, seconds=seconds)
        self._ordered += count

    async def calm(self) -> int:
        waiting = self._waiting()
        self._proxy.calm()
        return self._ordered - waiting

    def _waiting(self) -> int:
        return sum(plan.left or 0 for plan in self._proxy.plans)


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
