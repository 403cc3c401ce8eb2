"""Follow new blocks: over a node's WebSocket where one is configured, by polling elsewhere and while it reconnects.

A head is a hint to read, never a fact: its receiver reads the block from a node. A subscription that falls silent is
closed and opened again.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import cycle
from typing import Any, Self

from loguru import logger
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from pipeline.chains.errors import ChainError, WrongNetwork
from pipeline.chains.evm.rpc.node import EvmNode, block_ref, reading
from pipeline.chains.evm.rpc.replies import body_of, result_of
from pipeline.chains.rpc.answers import field, quantity, unforeseen
from pipeline.chains.rpc.http import KEY_PLACE, NodeFailure, origin, without_secrets
from pipeline.chains.rpc.nodes import Nodes
from pipeline.chains.rpc.parse import NotJson, parse
from pipeline.chains.values import BlockRef, Finality
from pipeline.printable import printable

SILENCE_BLOCKS = 10
"""Block times without a head after which a subscription counts as dead."""
SHORTEST_SILENCE = 5.0
PING_SECONDS = 10.0
CLOSE_SECONDS = 0.5
"""How long a close waits for the peer's close frame; a dead peer sends none."""
MESSAGE_LIMIT = 2**20
"""Bytes of one message. A header has about 2 kB, on proof-of-authority chains a few more."""
RECONNECT_SECONDS = 5.0
"""Before the next connection, with polling meanwhile; grows with each failure in a row, up to ten times this."""

_SILENT = logging.getLogger("flagpost.websockets")
"""The library logs the request line at DEBUG, and an API key may stand in it. What fails is raised, and logged here."""
_SILENT.disabled = True


async def follow(nodes: Nodes[EvmNode], chain_id: int, poll_seconds: float) -> AsyncGenerator[BlockRef, None]:
    """The head now, and each new one, for ever. ``poll_seconds`` is the chain's block time.

    The same height comes again with another id after a reorg. Raises nothing that a node does: with all of them
    gone it waits for one to come back.
    """
    announcer = _Announcer(nodes, chain_id, poll_seconds)
    task = asyncio.create_task(announcer.run())
    last: BlockRef | None = None
    try:
        while True:
            head = await announcer.next() if announcer.live else await _poll(nodes)
            if head is not None and head != last:
                last = head
                yield head
            if not announcer.live:
                await announcer.wait(poll_seconds)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _poll(nodes: Nodes[EvmNode]) -> BlockRef | None:
    try:
        return await nodes.ask(lambda node: node.block_ref(Finality.HEAD))
    except ChainError as error:
        logger.warning("{}: no head: {}", nodes.chain, error)
        return None


class _Announcer:
    """Keeps a subscription at one of the nodes that have a socket, the next one after each failure."""

    def __init__(self, nodes: Nodes[EvmNode], chain_id: int, block_seconds: float) -> None:
        self.live = False
        """Whether heads come by themselves."""
        self._nodes = nodes
        self._chain_id = chain_id
        self._silence = max(SHORTEST_SILENCE, SILENCE_BLOCKS * block_seconds)
        self._heads: asyncio.Queue[BlockRef | None] = asyncio.Queue()
        self._changed = asyncio.Event()

    async def next(self) -> BlockRef | None:
        """The next announced head; None when there will be none for a while."""
        return await self._heads.get()

    async def wait(self, seconds: float) -> None:
        """Until ``live`` changes, or for ``seconds``."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def run(self) -> None:
        sockets = [node for node in self._nodes.all if node.config.ws_url is not None]
        failures = 0
        for node in cycle(sockets):
            try:
                await self._listen(node)
            except ChainError as error:
                failures = 1 if self.live else failures + 1
                logger.warning("{}: no announcements of new blocks, polling instead: {}", self._nodes.chain, error)
            self._switch(live=False)
            await asyncio.sleep(RECONNECT_SECONDS * min(10, failures) * random.uniform(0.75, 1.25))  # noqa: S311

    async def _listen(self, node: EvmNode) -> None:
        """Raises NodeFailure, WrongNetwork when the subscription cannot be had, breaks, or falls silent."""
        url = (node.config.ws_url or "").replace(KEY_PLACE, node.any_key or "")
        name = origin(url)
        try:
            async with _Handshake.with_limits(url) as socket:
                await self._follow(node, _Announcements(node, name, socket))
        except ChainError:
            raise
        except ConnectionClosed as error:
            raise NodeFailure("connection", f"{name} closed its socket ({_said(error, url, name)})") from error
        except (WebSocketException, OSError, TimeoutError) as error:
            raise NodeFailure("connection", f"cannot open the socket of {name}: {_said(error, url, name)}") from error
        except Exception as error:  # whatever a node's bytes bring about is that node's failure, and the next is asked
            raise unforeseen(node, "on its socket", error) from error

    async def _follow(self, node: EvmNode, announcements: "_Announcements") -> None:
        found = await announcements.chain_id()
        if found != self._chain_id:
            raise WrongNetwork(
                f"socket of {node.name} belongs to another network: its chain id is {found}, "
                f"this chain's is {self._chain_id}; correct chains.nodes"
            )
        await announcements.subscribe()
        # What came between the last poll and the subscription.
        self._heads.put_nowait(await node.block_ref(Finality.HEAD))
        self._switch(live=True)
        while True:
            self._heads.put_nowait(await announcements.next(self._silence))

    def _switch(self, *, live: bool) -> None:
        if self.live and not live:
            self._heads.put_nowait(None)
        self.live = live
        self._changed.set()


class _Announcements:
    """One connection to a node's socket."""

    def __init__(self, node: EvmNode, name: str, socket: ClientConnection) -> None:
        self._node = node
        self._name = name
        self._socket = socket

    async def chain_id(self) -> int:
        answer = await self._call(1, "eth_chainId")
        with reading(self._node, "eth_chainId"):
            return quantity(answer, "the chain id")

    async def subscribe(self) -> None:
        await self._call(2, "eth_subscribe", "newHeads")

    async def next(self, silence: float) -> BlockRef:
        """The next head. Raises NodeFailure when none comes for ``silence`` seconds."""
        try:
            async with asyncio.timeout(silence):
                while True:
                    message = await self._receive()
                    with reading(self._node, "a subscription"):
                        if field(message, "method") != "eth_subscription":
                            continue
                        block = field(field(message, "params"), "result")
                    return block_ref(self._node, block)
        except TimeoutError:
            raise NodeFailure("timeout", f"{self._name} announced no block for {silence:g} s") from None

    async def _call(self, number: int, method: str, *params: Any) -> Any:
        """Raises RpcError, NodeFailure."""
        await self._socket.send(json.dumps(body_of(number, method, params)))
        try:
            async with asyncio.timeout(SHORTEST_SILENCE):
                while True:
                    message = await self._receive()
                    with reading(self._node, method):
                        if field(message, "id") == number:
                            return result_of(self._node, method, message)
        except TimeoutError:
            raise NodeFailure("timeout", f"{self._name} did not answer {method} on its socket") from None

    async def _receive(self) -> Any:
        # As bytes whatever the frame's type: text that is not UTF-8 is for the parser to refuse.
        body = await self._socket.recv(decode=False)
        try:
            return parse(body)
        except NotJson as error:
            raise NodeFailure(
                "not json", f"{self._name} announced what is not JSON ({printable(str(error))})"
            ) from error


class _Handshake(connect):
    """Opens a socket at the configured URL and nowhere else."""

    @classmethod
    def with_limits(cls, url: str) -> Self:
        """A handshake with our limits: no compression, so that no small message inflates to a large one; no proxy from
        the environment, as for HTTP; certificates of ``wss`` are verified by the library's default context."""
        return cls(
            url,
            compression=None,
            proxy=None,
            open_timeout=SHORTEST_SILENCE,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS / 2,
            close_timeout=CLOSE_SECONDS,
            max_size=MESSAGE_LIMIT,
            logger=_SILENT,
        )

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Never follow one: the URL may hold a key, and another place may be another network."""
        if isinstance(exc, InvalidStatus) and 300 <= exc.response.status_code < 400:
            target = without_secrets(exc.response.headers.get("Location", ""))
            return WebSocketException(f"it redirects to {target or 'nowhere'}, which is not followed")
        return exc


def _said(error: Exception, url: str, name: str) -> str:
    """What the library says, without the URL, which may hold a key."""
    return printable(str(error).replace(url, name)) or type(error).__name__
