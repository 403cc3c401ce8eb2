"""Faults of nodes: how many wait, and how many met a call."""

from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipeline.devnet.faults import Fault, Faults
from pipeline.local.anvil_proxy import SEND, FaultProxy
from pipeline.local.mischief import MOST_WAITING, EvmMischief, Mischief, TronMischief

MOST_OF_ONE = 3
"""Calls that one fault meets."""
METHODS = (SEND, "eth_getTransactionReceipt", "eth_getBlockByNumber", "eth_getTransactionCount")


class Control:
    """The simulated network's control, without the network."""

    def __init__(self) -> None:
        self.node = Faults()

    async def add_fault(self, kind: str, path: str, *, node: str, **fields: Any) -> int:
        assert node == "main"
        return self.node.add(Fault.from_json({"kind": kind, "path": path, **fields})).id

    async def faults(self) -> dict[str, list[dict[str, Any]]]:
        return {"main": [rule.to_json() for rule in self.node.rules]}

    async def clear_faults(self) -> int:
        return self.node.clear()


async def many(mischief: Mischief, seed: int = 1) -> None:
    dice = Random(seed)
    for _ in range(50):
        await mischief.spoil(dice)


async def test_few_wait_for_their_calls_and_those_that_met_one_are_counted_on_tron() -> None:
    control = Control()
    mischief = TronMischief(control)  # type: ignore[arg-type]
    await many(mischief)
    waiting = sum(rule.count or 0 for rule in control.node.rules)
    assert MOST_WAITING <= waiting < MOST_WAITING + MOST_OF_ONE
    rule = control.node.rules[0]
    assert control.node.take(rule.path.replace("*", "broadcasthex")) is rule
    assert await mischief.calm() == 1
    assert control.node.rules == []


@pytest.mark.parametrize("seed", range(3))
async def test_few_wait_for_their_calls_and_those_that_met_one_are_counted_on_evm(seed: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": "0x" + "00" * 32})

    application = web.Application()
    application.router.add_post("/", answer)
    async with (
        TestServer(application) as node,
        FaultProxy.before(str(node.make_url("/"))) as proxy,
        aiohttp.ClientSession() as session,
    ):
        mischief = EvmMischief(proxy)
        await many(mischief, seed)
        waiting = sum(plan.left or 0 for plan in proxy.plans)
        assert MOST_WAITING <= waiting < MOST_WAITING + MOST_OF_ONE
        for plan in proxy.plans:
            plan.seconds = None if plan.seconds is None else 0.0
        for method in METHODS * MOST_OF_ONE:
            call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": ["0x00"]}
            try:
                async with session.post(proxy.url, json=call) as reply:
                    await reply.read()
            except aiohttp.ClientError:
                continue
        left = sum(plan.left or 0 for plan in proxy.plans)
        assert left < waiting
        assert await mischief.calm() == waiting - left
        assert proxy.plans == []
