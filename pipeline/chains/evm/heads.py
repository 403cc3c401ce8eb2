"""New blocks as they come: over a node's WebSocket where one is configured, by polling elsewhere and meanwhile.

A head is a wake-up, no truth: whoever is woken reads for himself. A stream that falls silent is taken for dead.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import count
from typing import Any, cast

from loguru import logger
from web3 import AsyncWeb3
from web3.exceptions import Web3Exception
from web3.providers.persistent import WebSocketProvider
from web3.types import RPCResponse
from websockets.exceptions import WebSocketException

from pipeline.chains.errors import ChainError, WrongNetwork
from pipeline.chains.evm.node import EvmNode, hash_text, reading, timestamp
from pipeline.chains.http import KEY_PLACE, NodeFailure, origin
from pipeline.chains.nodes import Nodes
from pipeline.chains.provider import BlockRef, Finality

SILENCE_BLOCKS = 10
"""Block times without a head after which a socket is given up."""
SHORTEST_SILENCE = 5.0
PING_SECONDS = 10.0
RECONNECT_SECONDS = 5.0
"""Polled in between; grows with each failure in a row, up to ten times this."""


async def follow(nodes: Nodes[EvmNode], chain_id: int, poll_seconds: float) -> AsyncGenerator[BlockRef, None]:
    """The head now, and each new one, for ever. ``poll_seconds`` is the chain's block time.

    The same height comes again with another id after a reorg. Raises nothing that a node does: with all of them
    gone it waits for one to come back.
    """
    last: BlockRef | None = None
    sockets = [node for node in nodes.all if node.config.ws_url is not None]
    failures = 0
    for turn in count():
        if sockets:
            announced = _announced(sockets[turn % len(sockets)], chain_id, poll_seconds)
            try:
                async with aclosing(announced):
                    async for head in announced:
                        failures = 0
                        if head != last:
                            last = head
                            yield head
            except (ChainError, Web3Exception, WebSocketException, OSError, TimeoutError) as error:
                failures += 1
                logger.warning("{}: no announcements of new blocks, polling instead: {}", nodes.chain, error)
        pause = RECONNECT_SECONDS * min(10, max(1, failures)) * random.uniform(0.75, 1.25)  # noqa: S311
        polled = _polled(nodes, poll_seconds, pause if sockets else None)
        async with aclosing(polled):
            async for head in polled:
                if head != last:
                    last = head
                    yield head


async def _polled(nodes: Nodes[EvmNode], every: float, duration: float | None) -> AsyncGenerator[BlockRef, None]:
    """The head again and again, for ``duration`` seconds."""
    clock = asyncio.get_running_loop().time
    end = None if duration is None else clock() + duration
    while end is None or clock() < end:
        try:
            yield await nodes.ask(lambda node: node.block_ref(Finality.HEAD))
        except ChainError as error:
            logger.warning("{}: no head: {}", nodes.chain, error)
        await asyncio.sleep(every)


async def _announced(node: EvmNode, chain_id: int, block_seconds: float) -> AsyncGenerator[BlockRef, None]:
    """The head when subscribed, and each that the node announces. Ends or raises when the socket does."""
    silence = max(SHORTEST_SILENCE, SILENCE_BLOCKS * block_seconds)
    socket = _Socket(
        (node.config.ws_url or "").replace(KEY_PLACE, node.any_key or ""),
        websocket_kwargs={"ping_interval": PING_SECONDS, "ping_timeout": PING_SECONDS},
        max_connection_retries=1,
        request_timeout=SHORTEST_SILENCE,
    )
    async with AsyncWeb3(socket) as web3:
        found = int(await web3.eth.chain_id)
        if found != chain_id:
            raise WrongNetwork(f"socket of {node.name} belongs to another network: chain id {found}, not {chain_id}")
        await web3.eth.subscribe("newHeads")
        yield await node.block_ref(Finality.HEAD)
        stream = web3.socket.process_subscriptions()
        while True:
            try:
                message = await asyncio.wait_for(anext(stream), silence)
            except StopAsyncIteration:
                raise NodeFailure("connection", f"{node.name} closed its socket") from None
            except TimeoutError:
                raise NodeFailure("timeout", f"{node.name} announced no block for {silence:g} s") from None
            with reading(node, "an announced block"):
                block = message["result"]
                yield BlockRef(
                    int(block["number"]), hash_text(block["hash"].to_0x_hex()), timestamp(block["timestamp"])
                )


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
