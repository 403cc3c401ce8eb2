"""Injected faults: all but the first are removed at the next draw, the first takes any call, and calls are counted."""

from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipeline.devnet.faults import Fault, Faults
from pipeline.local.anvil_proxy import SEND, FaultProxy
from pipeline.local.faults import EvmFaults, TronFaults

DRAWS = 40


class Control:
    """The simulated network's control, without the network."""

    def __init__(self) -> None:
        self.node = Faults()

    async def add_fault(self, kind: str, path: str, *, node: str, **fields: Any) -> int:
        assert node == "main"
        return self.node.add(Fault.from_json({"kind": kind, "path": path, **fields})).id

    async def faults(self) -> dict[str, list[dict[str, Any]]]:
        return {"main": [rule.to_json() for rule in self.node.rules]}

    async def clear_faults(self, *, rule: int | None = None) -> int:
        return self.node.clear(rule)


async def test_a_fault_of_tron_meets_its_calls_or_is_over() -> None:
    control = Control()
    injector = TronFaults(control)  # type: ignore[arg-type]
    dice, met, drawn = Random(1), 0, 0
    for number in range(DRAWS):
        await injector.inject(dice)
        assert len(control.node.rules) <= 1
        for rule in list(control.node.rules):
            drawn += 1
            if number % 2:
                assert control.node.take(rule.path.replace("*", "broadcasthex")) is not None
                met += 1
                control.node._refusing = None
    assert 0 < met < drawn < DRAWS
    assert await injector.clear() == met
    assert control.node.rules == []


@pytest.mark.parametrize("seed", range(20))
async def test_until_one_was_met_a_fault_takes_any_call(seed: int) -> None:
    """A run of a few seconds is not without."""
    control = Control()
    injectors = TronFaults(control), EvmFaults(FaultProxy("", None))  # type: ignore[arg-type]
    dice = Random(seed)
    for _ in range(3):
        for injector in injectors:
            await injector.inject(dice)
        assert [plan.method for plan in injectors[1]._proxy.plans] == [None]
    assert control.node.take("walletsolidity/getnowblock") is not None
    assert await injectors[0].clear() == 1


async def test_a_fault_of_evm_meets_its_calls_or_is_over() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": "0x" + "00" * 32})

    application = web.Application()
    application.router.add_post("/", answer)
    async with (
        TestServer(application) as node,
        FaultProxy.before(str(node.make_url("/"))) as proxy,
        aiohttp.ClientSession() as session,
    ):
        injector = EvmFaults(proxy)
        dice, met, drawn = Random(1), 0, 0
        for number in range(DRAWS):
            await injector.inject(dice)
            assert len(proxy.plans) <= 1
            for plan in list(proxy.plans):
                drawn += 1
                if number % 2:
                    met += 1
                    plan.seconds = None if plan.seconds is None else 0.0
                    call = {"jsonrpc": "2.0", "id": 1, "method": plan.method or SEND, "params": ["0x00"]}
                    try:
                        async with session.post(proxy.url, json=call) as reply:
                            await reply.read()
                    except aiohttp.ClientError:
                        continue
        assert 0 < met < drawn < DRAWS
        assert await injector.clear() == met
        assert proxy.plans == []
