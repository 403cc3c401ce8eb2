"""What stands in for HTTP between a worker and a node: answers in memory, and what befalls them on the way."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pipeline.chains.rpc.wire import Broken, Reply
from tests.simulation.fault_plan import Decision

PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
DISHES = {
    "lost request": 2,
    "silence": 1,
    "lost reply": 3,
    "late reply": 2,
    "late request": 2,
    "twice": 2,
    "false reply": 2,
    "swallowed": 1,
    "busy": 1,
    "too many": 1,
    "web page": 1,
    "empty": 1,
}
"""What befalls a call, and how often beside the others."""


class Answers(Protocol):
    """A network of nodes. Bodies and answers are JSON values; whatever they hold is text by then."""

    def answer(self, url: str, body: Any) -> Any:
        """What the node at ``url`` answers, having done what it was asked."""

    def is_sending(self, url: str, body: Any) -> bool:
        """Whether a transaction is handed over."""

    def is_down(self, url: str) -> bool: ...

    def falsified(self, url: str, body: Any, answer: Any, dice: int) -> Any:
        """Another answer of the right form."""

    def swallowed(self, url: str, body: Any) -> Any:
        """As if it had been taken."""

    def busy(self, url: str, body: Any) -> Any: ...


class Wire(Protocol):
    """The simulation, as far as the way to a node goes."""

    network: Answers

    def happens(self, kind: str) -> Decision | None: ...

    def after(self, seconds: float, what: Callable[[], None]) -> None: ...

    async def pause(self) -> None: ...


class SimulatedWire:
    """Stands in for ``wire.HttpWire``."""

    wire: Wire

    def __init__(self, timeout_seconds: float) -> None:
        self._seconds = timeout_seconds

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], limits: Mapping[int, int]) -> Reply:
        await self.wire.pause()
        reply = await _Exchange(self.wire, url, body, self._seconds).reply()
        await self.wire.pause()
        return reply

    async def close(self) -> None:
        """Nothing is open."""


class _Exchange:
    """One request and its reply."""

    def __init__(self, wire: Wire, url: str, body: bytes, seconds: float) -> None:
        self._wire = wire
        self._url = url
        self._body = body
        self._seconds = seconds

    async def reply(self) -> Reply:
        network, url = self._wire.network, self._url
        if network.is_down(url):
            raise Broken("connection refused")
        fault = self._wire.happens("node")
        match fault.what if fault is not None else "":
            case "lost request":
                raise Broken("server disconnected")
            case "silence":
                await self._never()
            case "lost reply":
                self._ask()
                raise Broken("server disconnected")
            case "late reply":
                reply = self._ask()
                await self._until(fault)
                return reply
            case "late request":
                return await self._later(fault)
            case "twice":
                self._ask()
            case "false reply":
                answer = json.loads(self._ask().body)
                return _said(network.falsified(url, json.loads(self._body), answer, fault.dice))
            case "swallowed" if network.is_sending(url, json.loads(self._body)):
                return _said(network.swallowed(url, json.loads(self._body)))
            case "busy":
                return _said(network.busy(url, json.loads(self._body)))
            case "too many":
                return Reply(429, b"Too Many Requests", {"Retry-After": f"{min(fault.seconds, 30):.0f}"})
            case "web page":
                return Reply(200 if fault.dice % 2 else 502, PAGE, {})
            case "empty":
                return _said({} if fault.dice % 2 else [])
        return self._ask()

    def _ask(self) -> Reply:
        return _said(self._wire.network.answer(self._url, json.loads(self._body)))

    async def _never(self) -> None:
        await asyncio.sleep(self._seconds)
        raise TimeoutError

    async def _until(self, fault: Decision) -> None:
        await asyncio.sleep(min(fault.seconds, self._seconds))
        if fault.seconds >= self._seconds:
            raise TimeoutError

    async def _later(self, fault: Decision) -> Reply:
        """It reaches the node when it reaches it, whether or not anybody waits for the answer."""
        answered: list[Reply] = []
        self._wire.after(fault.seconds, lambda: answered.append(self._ask()))
        await self._until(fault)
        await self._wire.pause()
        return answered[0]


def _said(answer: Any) -> Reply:
    return Reply(200, json.dumps(answer).encode(), {})
