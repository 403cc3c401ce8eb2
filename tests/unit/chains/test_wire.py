"""HTTP to a node: answers are bounded while they are read, and nothing goes to another place than the one
configured."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pipeline.chains.rpc import wire as module
from pipeline.chains.rpc.http import TOO_LARGE, Node, NodeConfig, NodeFailure
from pipeline.chains.rpc.wire import ANSWER_LIMIT, ERROR_LIMIT, HttpWire
from tests.unit.chains.scripted_node import Answer, scripted_node

MEMORY = 3 * ANSWER_LIMIT
"""That an answer may take while it is read: its pieces, itself, and a copy."""

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(write: Write) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that reads one request and writes what it likes; its URL, and an event once its writing has ended."""
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await write(writer)
            await writer.drain()
        except ConnectionError:
            pass  # the client has read enough
        finally:
            ended.set()
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ended
    finally:
        server.close()


def answering(body: bytes, *headers: str, status: str = "200 OK") -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)

    return write


def endless(*headers: str, piece: bytes = b" " * 2**16, status: str = "200 OK") -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]).encode())
        while True:
            writer.write(piece)
            await writer.drain()

    return write


def bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


async def failure_of(url: str) -> NodeFailure:
    node = Node(NodeConfig(url))
    with pytest.raises(NodeFailure) as caught:
        await node.post("wallet/x", {})
    await node.close()
    return caught.value


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    async with serving(endless()) as (url, ended):
        tracemalloc.start()
        failure = await failure_of(url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert failure.code == TOO_LARGE
        assert f"answered wallet/x with more than {ANSWER_LIMIT} bytes: not read" in str(failure)
        assert peak < MEMORY
        async with asyncio.timeout(10):
            await ended.wait()  # the connection is closed, not drained


async def test_a_small_body_that_unfolds_without_end() -> None:
    """1 MB of gzip took 2.1 GB."""
    small = bomb(300)
    assert len(small) < 2**19
    async with serving(answering(small, "Content-Encoding: gzip")) as (url, _):
        tracemalloc.start()
        failure = await failure_of(url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert failure.code == TOO_LARGE
    assert peak < MEMORY


async def test_a_compressed_body_that_unfolds_to_nothing_has_an_end_too() -> None:
    nothing = zlib.compressobj(wbits=31)
    begin = nothing.compress(b"") + nothing.flush(zlib.Z_FULL_FLUSH)
    again = nothing.flush(zlib.Z_FULL_FLUSH) or b"\x00\x00\x00\xff\xff"
    async with serving(endless("Content-Encoding: gzip", piece=begin if not again else again * 10_000)) as (url, _):
        assert (await failure_of(url)).code in (TOO_LARGE, "connection")


async def test_of_an_error_only_the_beginning_is_read() -> None:
    async with serving(endless(status="502 Bad Gateway", piece=b"sorry " * 1_000)) as (url, ended):
        failure = await failure_of(url)
        assert failure.code == "http 502"
        assert "sorry sorry" in str(failure)
        assert len(str(failure)) < 300
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(b'{"ok": "' + b"x" * 100_000 + b'"}')
    async with serving(answering(body, "Content-Encoding: gzip")) as (url, _):
        node = Node(NodeConfig(url))
        assert len((await node.post("wallet/x", {}))["ok"]) == 100_000
        await node.close()


@pytest.mark.parametrize(
    ("body", "header", "why"),
    [
        (b"not gzip at all", "Content-Encoding: gzip", "incorrect header check"),
        (gzip.compress(b'{"ok": 1}', mtime=0)[:-9], "Content-Encoding: gzip", "its compressed answer breaks off"),
        (b"{}", "Content-Encoding: br", "answers in the encoding br"),
        (b"{}", "Content-Encoding: \x1b[31m", "broke off"),
        (b"{}", "Bad\x00Header: 1", "broke off"),
        (b"{}", "X: " + "y" * 100_000, "broke off"),
    ],
)
async def test_what_cannot_be_unfolded_is_an_error_naming_the_node(body: bytes, header: str, why: str) -> None:
    async with serving(answering(body, header)) as (url, _):
        failure = await failure_of(url)
    assert failure.code == "connection"
    assert why in str(failure)
    assert url in str(failure)
    assert str(failure).isprintable()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """What was sent, a key among it, would go where the node says."""
    async with scripted_node(wallet_x={"ok": 1}) as elsewhere, scripted_node() as node_there:
        target = elsewhere.url.replace("http://", "http://somebody:secret@") + "/wallet/x?key=secret"
        node_there.faults = [Answer("", status, {"Location": target})]
        node = Node(NodeConfig(node_there.url), ["0123456789abcdef"])
        said = f"sends wallet/x on to {elsewhere.url} .*, which is not followed"
        with pytest.raises(NodeFailure, match=said) as caught:
            await node.post("wallet/x", {})
        assert "secret" not in str(caught.value)
        assert elsewhere.asked == []
        await node.close()


async def test_a_reply_is_bytes_and_headers() -> None:
    async with scripted_node(wallet_x=Answer("é", 200, {"Retry-After": "1"})) as node:
        wire = HttpWire(5)
        reply = await wire.post(f"{node.url}/wallet/x", b"{}", {}, {200: 10})
        assert (reply.status, reply.body, reply.headers["retry-after"]) == (200, "é".encode(), "1")
        await wire.close()


async def test_cookies_are_kept_for_load_balancers_and_not_by_the_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_COOKIES", 3)
    async with scripted_node() as node:
        wire = HttpWire(5)
        for number in range(12):
            node.faults.append(Answer({}, 200, {"Set-Cookie": f"c{number}=1; Path=/"}))
            await wire.post(f"{node.url.replace('127.0.0.1', 'localhost')}/wallet/x", b"{}", {}, {200: 10})
            assert wire._session is not None
            assert len(wire._session.cookie_jar) <= 4
        await wire.close()


def test_error_bodies_are_short() -> None:
    assert ERROR_LIMIT < 10_000
