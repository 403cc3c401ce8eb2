"""New blocks wake us: by announcement, by polling without one, and across every kind of break."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from loguru import logger

from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.evm.rpc import heads as heads_module
from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.values import BlockRef
from pipeline.local.anvil_proxy import ProxyFault
from tests.chains.evm.anvil import Anvil
from tests.chains.provider.evm_network import CHAIN_ID, EvmNetwork
from tests.patience import PATIENCE

BLOCK_SECONDS = 0.02


def following(network: EvmNetwork, *nodes: NodeConfig) -> EvmProvider:
    made = EvmProvider("anvil", CHAIN_ID, nodes, [network.coin], block_seconds=BLOCK_SECONDS)
    network.stack.push_async_callback(made.close)
    return made


async def seen(heads: AsyncGenerator[BlockRef, None], node: Anvil) -> BlockRef:
    """The next head that is the newest of the node."""
    height = await node.height()
    async with asyncio.timeout(PATIENCE):
        while (head := await anext(heads)).number < height:
            pass
    return head


class Wire:
    """Between the provider and the node's socket: may be cut, or go dead without a word."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.connections = 0
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def go_dead(self) -> None:
        self._flowing.clear()

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers += [writer, there[1]]
        self._tasks += [asyncio.create_task(self._pump(*ends)) for ends in ((reader, there[1]), (there[0], writer))]

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


@pytest.fixture
async def wire(network: EvmNetwork) -> AsyncGenerator[Wire, None]:
    made = Wire(network.node.ws_url)
    await made.start()
    yield made
    await made.stop()


async def test_announced(network: EvmNetwork) -> None:
    provider = following(network, NodeConfig(network.url, ws_url=network.node.ws_url))
    async with aclosing(provider.heads()) as heads:
        asked = -1
        while asked != network.proxy.requests:
            asked = network.proxy.requests
            await network.mine()
            await seen(heads, network.node)
        for _ in range(3):
            await network.mine()
            head = await seen(heads, network.node)
            block = await network.node.call("eth_getBlockByNumber", hex(head.number), False)
            assert head.id == block["hash"]
            assert int(head.timestamp.timestamp()) == int(block["timestamp"], 16)
        assert network.proxy.requests == asked, "without asking"


async def test_polled_where_nothing_is_announced(network: EvmNetwork) -> None:
    provider = following(network, NodeConfig(network.url))
    async with aclosing(provider.heads()) as heads:
        await seen(heads, network.node)
        await network.mine()
        await seen(heads, network.node)
        network.proxy.plan(ProxyFault.LOST_REQUEST, None, 2)
        await network.mine()
        await seen(heads, network.node)


async def test_a_reorg_shows_another_block_of_the_same_height(network: EvmNetwork) -> None:
    provider = following(network, NodeConfig(network.url))
    async with aclosing(provider.heads()) as heads:
        await network.fund(await network.address(1), 5)
        await network.mine()
        first = await seen(heads, network.node)
        await network.fork_out(1, forget=True)
        second = await seen(heads, network.node)
        assert first.number == second.number
        assert first.id != second.id


async def test_a_socket_that_cannot_be_had_is_no_reason_to_stop(network: EvmNetwork) -> None:
    provider = following(network, NodeConfig(network.url, ws_url="ws://127.0.0.1:1"))
    async with aclosing(provider.heads()) as heads:
        for _ in range(3):
            await network.mine()
            await seen(heads, network.node)


@pytest.mark.parametrize("dead", [False, True])
async def test_a_socket_that_breaks_is_polled_around_and_made_again(
    network: EvmNetwork, wire: Wire, dead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads_module, "SHORTEST_SILENCE", 0.2)
    monkeypatch.setattr(heads_module, "RECONNECT_SECONDS", 0.2)
    provider = following(network, NodeConfig(network.url, ws_url=wire.url))
    async with aclosing(provider.heads()) as heads:
        await seen(heads, network.node)
        assert wire.connections == 1
        wire.go_dead() if dead else wire.cut()
        while wire.connections < 2:
            await network.mine()
            await seen(heads, network.node)


async def test_a_socket_of_another_network_is_not_listened_to(network: EvmNetwork) -> None:
    elsewhere = (await network.another_network()).replace("http://", "ws://")
    provider = following(network, NodeConfig(network.url, ws_url=elsewhere))
    async with aclosing(provider.heads()) as heads:
        for _ in range(2):
            await network.mine()
            head = await seen(heads, network.node)
            assert head.number == await network.node.height()


class Announcer:
    """A node's socket that announces whatever it is told to, before anything that is true."""

    def __init__(self, network: EvmNetwork) -> None:
        self.network = network
        self.odd: list[str] = []
        self.connections = 0

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        for result in (hex(CHAIN_ID), "0x5ub"):
            asked = await socket.receive_json()
            await socket.send_json({"jsonrpc": "2.0", "id": asked["id"], "result": result})
        while True:
            if self.odd:
                await socket.send_str(self.odd.pop(0))
                await socket.receive()
                return socket
            block = await self.network.node.call("eth_getBlockByNumber", "latest", False)
            # An XDC node's: what is not used is not read.
            block |= {"miner": "xdc" + "0" * 40, "uncles": None, "extraData": "0x" + "00" * 500, "validators": "0x"}
            await socket.send_json({"method": "eth_subscription", "params": {"subscription": "0x5ub", "result": block}})
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[str, None]:
        application = web.Application()
        application.router.add_get("/secret-path-0123456789", self.handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"ws://127.0.0.1:{runner.addresses[0][1]}/secret-path-0123456789"
        finally:
            await runner.cleanup()


async def test_only_what_is_used_of_an_announced_block_is_read(network: EvmNetwork) -> None:
    announcer = Announcer(network)
    async with announcer.running() as url:
        provider = following(network, NodeConfig(network.url, ws_url=url))
        async with aclosing(provider.heads()) as heads:
            for _ in range(3):
                await network.mine()
                await seen(heads, network.node)
        assert announcer.connections == 1


ODD = ["[" * 100_000, "NaN", '"\\ud800"', "{", '{"method": "eth_subscription"}', '{"method": 5}', "x" * 2**21]
ODD += ['{"method": "eth_subscription", "params": {"result": {"number": "0x1"}}}']


async def test_odd_announcements_are_polled_around(network: EvmNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_module, "RECONNECT_SECONDS", 0.01)
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)))
    monkeypatch.setattr(heads_module, "SHORTEST_SILENCE", 0.3)
    announcer = Announcer(network)
    announcer.odd = [*ODD]
    async with announcer.running() as url:
        provider = following(network, NodeConfig(network.url, ws_url=url))
        async with aclosing(provider.heads()) as heads, asyncio.timeout(PATIENCE):
            while announcer.odd:
                await network.mine()
                await seen(heads, network.node)
    logger.remove(sink)
    assert announcer.connections >= len(ODD)
    assert "no announcements of new blocks" in "".join(lines)
    assert "secret-path" not in "".join(lines), "a key may stand in the path"


async def polled_with_a_warning(network: EvmNetwork, url: str) -> str:
    """Heads come although the socket at ``url`` cannot be opened; what is logged of it."""
    lines: list[str] = []
    warned = asyncio.Event()

    def write(line: str) -> None:
        lines.append(str(line))
        warned.set()

    sink = logger.add(write)
    provider = following(network, NodeConfig(network.url, ws_url=url))
    async with aclosing(provider.heads()) as heads:
        for _ in range(2):
            await network.mine()
            await seen(heads, network.node)
        await asyncio.wait_for(warned.wait(), PATIENCE)
    logger.remove(sink)
    return "".join(lines)


@asynccontextmanager
async def answering(handler: "web._RequestHandler", context: ssl.SSLContext | None = None) -> AsyncGenerator[str, None]:
    """``host:port`` of a server whose every path is ``handler``."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_redirected_handshake_is_not_followed(network: EvmNetwork, elsewhere: bool) -> None:
    announcer, asked = Announcer(network), 0
    async with announcer.running() as url:

        async def redirect(request: web.Request) -> web.Response:
            nonlocal asked
            asked += 1
            return web.Response(status=307, headers={"Location": url if elsewhere else "/secret-path-0123456789"})

        async with answering(redirect) as place:
            said = await polled_with_a_warning(network, f"ws://{place}/another-secret-path")
    assert announcer.connections == 0
    assert asked == 1
    assert "redirects to" in said
    assert "secret-path" not in said


async def test_no_proxy_of_the_environment_sees_a_key(network: EvmNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def proxy(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.Response(status=502)

    announcer = Announcer(network)
    async with answering(proxy) as place, announcer.running() as url:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "socks_proxy"):
            monkeypatch.setenv(name, f"http://{place}")
        monkeypatch.delenv("no_proxy", raising=False)
        provider = following(network, NodeConfig(network.url, ws_url=url))
        async with aclosing(provider.heads()) as heads:
            while not announcer.connections:
                await network.mine()
                await seen(heads, network.node)
    assert not asked


async def test_a_certificate_that_is_not_trusted_is_refused(network: EvmNetwork, tmp_path: Path) -> None:
    context = self_signed(tmp_path)
    asked = 0

    async def count(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response()

    async with answering(count, context) as place:
        said = await polled_with_a_warning(network, f"wss://{place}/secret-path-0123456789")
    assert asked == 0
    assert "certificate" in said
    assert "secret-path" not in said


def self_signed(directory: Path) -> ssl.SSLContext:
    """A certificate of 127.0.0.1 that it signed itself."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is missing")
    subprocess.run([*make, *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
