"""A node in another place: counts what it is asked, answers later, or refuses what is above its rate.

    python -m bench.node_proxy http://127.0.0.1:8090

It says ``{"url": …}`` and then answers each line of its input: ``{"delay": 0.02, "per_second": 15}`` sets how much
later every answer comes (seconds) and how many requests a second are answered (null: all; above it HTTP 429, as public
nodes do), ``{"report": true}`` is answered with the counts since the last report. A process of its own, so that what it
costs is not counted as anybody's. A request is one of HTTP; a call is one question, of which a JSON-RPC batch holds
many. What was refused is counted apart.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter, deque
from typing import Any

from bench.adapter import say

BROADCASTS = frozenset({"wallet/broadcasthex", "wallet/broadcasttransaction", "eth_sendRawTransaction"})
LARGEST = 2**26
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n\r\nToo Many Requests"


class NodeProxy:
    """One node as its users see it."""

    def __init__(self, upstream: str) -> None:
        self.host, _, port = upstream.removeprefix("http://").rstrip("/").partition(":")
        self.port = int(port)
        self.delay = 0.0
        self.per_second: int | None = None
        self.calls: Counter[str] = Counter()
        self.requests = 0
        self.refused = 0
        self.last_broadcast: float | None = None
        self._answered: deque[float] = deque()
        """When the requests of the last second came."""

    def report(self) -> dict[str, Any]:
        """Counts since the last report. ``last_broadcast`` is a time in seconds since 1970."""
        found = {
            "calls": dict(self.calls),
            "requests": self.requests,
            "refused": self.refused,
            "last_broadcast": self.last_broadcast,
        }
        self.calls, self.requests, self.refused, self.last_broadcast = Counter(), 0, 0, None
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, one after the other, over one connection to the node."""
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head, body = await message(reader)
                if self._refuses():
                    writer.write(REFUSAL)
                    continue
                self._count(head, body)
                upstream = upstream or await asyncio.open_connection(self.host, self.port, limit=LARGEST)
                upstream[1].write(head + body)
                answer = await message(upstream[0])
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(b"".join(answer))
        for one in (writer, *([upstream[1]] if upstream else [])):
            one.close()

    def _refuses(self) -> bool:
        """Whether the rate is exceeded by this request."""
        if self.per_second is None:
            return False
        now = time.monotonic()
        while self._answered and self._answered[0] <= now - 1:
            self._answered.popleft()
        if len(self._answered) >= self.per_second:
            self.refused += 1
            return True
        self._answered.append(now)
        return False

    def _count(self, head: bytes, body: bytes) -> None:
        self.requests += 1
        asked = methods(head, body)
        self.calls.update(asked)
        if not BROADCASTS.isdisjoint(asked):
            self.last_broadcast = time.time()


async def message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one request or answer. Raises IncompleteReadError at the end, ValueError without a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return head, await reader.readexactly(int(value))
    raise ValueError(f"a message without its length: {head[:200]!r}")


def methods(head: bytes, body: bytes) -> list[str]:
    """What a request asks: JSON-RPC by its methods, TRON by its path."""
    path = head.split(b" ", 2)[1].decode().strip("/")
    if path.startswith("wallet"):
        return [path]
    calls = json.loads(body)
    return [call["method"] for call in (calls if isinstance(calls, list) else [calls])]


async def main(upstream: str) -> None:
    """Until its input ends."""
    proxy = NodeProxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=LARGEST)
    say(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        asked = json.loads(line)
        if "report" in asked:
            say(report=proxy.report())
        else:
            proxy.delay, proxy.per_second = asked["delay"], asked["per_second"]
            say(set=asked)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1]))
