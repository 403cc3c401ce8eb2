"""New blocks as they come: over a node's WebSocket where one is configured, by polling elsewhere and meanwhile.

A head is a wake-up, no truth: whoever is woken reads for himself. A stream that falls silent is taken for dead.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from itertools import cycle
from typing import Any, cast

from loguru import logger
from web3 import AsyncWeb3
from web3.providers.persistent import WebSocketProvider
from web3.types import RPCResponse

from pipeline.chains.errors import ChainError, WrongNetwork
from pipeline.chains.evm.node import EvmNode, hash_text, reading, timestamp
from pipeline.chains.http import KEY_PLACE, NodeFailure, origin
from pipeline.chains.nodes import Nodes
from pipeline.chains.provider import BlockRef, Finality

SILENCE_BLOCKS = 10
"""Block times without a head after which a socket is given up."""
SHORTEST_SILENCE = 5.0
PING_SECONDS = 10.0
GOODBYE_SECONDS = 0.5
"""A dead peer does not answer it, and is waited for three times."""
RECONNECT_SECONDS = 5.0
"""Polled in between; grows with each failure in a row, up to ten times this."""


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
        # web3 and websockets swallow a cancellation that meets them while they say goodbye.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=GOODBYE_SECONDS)


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
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def run(self) -> None:
        sockets = [node for node in self._nodes.all if node.config.ws_url is not None]
        failures = 0
        for node in cycle(sockets):
            try:
                await self._listen(node)
            except Exception as error:
                # Anything: web3's listener hands on whatever it stumbled over in a message.
                failures = 1 if self.live else failures + 1
                logger.warning("{}: no announcements of new blocks, polling instead: {!r}", self._nodes.chain, error)
            self._switch(live=False)
            await asyncio.sleep(RECONNECT_SECONDS * min(10, failures) * random.uniform(0.75, 1.25))  # noqa: S311

    async def _listen(self, node: EvmNode) -> None:
        """Raises when the subscription cannot be had, breaks, or falls silent."""
        socket = _Socket(
            (node.config.ws_url or "").replace(KEY_PLACE, node.any_key or ""),
            websocket_kwargs={
                "ping_interval": PING_SECONDS,
                "ping_timeout": PING_SECONDS,
                "close_timeout": GOODBYE_SECONDS,
            },
            max_connection_retries=1,
            request_timeout=SHORTEST_SILENCE,
        )
        async with AsyncWeb3(socket) as web3:
            found = int(await web3.eth.chain_id)
            if found != self._chain_id:
                raise WrongNetwork(
                    f"socket of {node.name} belongs to another network: its chain id is {found}, "
                    f"this chain's is {self._chain_id}; correct chains.nodes"
                )
            await web3.eth.subscribe("newHeads")
            # What came between the last poll and the subscription.
            self._heads.put_nowait(await node.block_ref(Finality.HEAD))
            self._switch(live=True)
            stream = web3.socket.process_subscriptions()
            while True:
                self._heads.put_nowait(await self._announced(node, stream))

    async def _announced(self, node: EvmNode, stream: AsyncIterator[Any]) -> BlockRef:
        try:
            message = await asyncio.wait_for(anext(stream), self._silence)
        except StopAsyncIteration:
            raise NodeFailure("connection", f"{node.name} closed its socket") from None
        except TimeoutError:
            raise NodeFailure("timeout", f"{node.name} announced no block for {self._silence:g} s") from None
        with reading(node, "an announced block"):
            block = message["result"]
            return BlockRef(int(block["number"]), hash_text(block["hash"].to_0x_hex()), timestamp(block["timestamp"]))

    def _switch(self, *, live: bool) -> None:
        if self.live and not live:
            self._heads.put_nowait(None)
        self.live = live
        self._changed.set()


class _Socket(WebSocketProvider):
    """web3's socket, without two of its habits."""

    def get_endpoint_uri_or_ipc_path(self) -> str:
        # It logs this; the key may be in it.
        return origin(str(self.endpoint_uri))

    async def socket_recv(self) -> RPCResponse:
        message: Any = await super().socket_recv()
        params = message.get("params") if isinstance(message, dict) else None
        if isinstance(params, dict) and isinstance(params.get("result"), dict):
            # BSC's is longer than web3 takes, and its middleware does not reach announcements.
            params["result"].pop("extraData", None)
        return cast(RPCResponse, message)
