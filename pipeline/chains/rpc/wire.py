"""HTTP to a node: one POST, its answer bounded while it is read, and no step to another place than the one configured.

An answer is counted as it comes and as it unfolds, so that neither 2 GB of text nor 1 MB of gzip costs more memory than
the largest real answer. Redirects are not followed: an API key, and a payment, go where the configuration says.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from pipeline.printable import printable

ANSWER_LIMIT = 8 * 2**20
"""Bytes of any answer that is not about a block. The largest, 700 balances through Multicall3, has 230 kB."""
BLOCK_LIMIT = 64 * 2**20
"""Bytes of an answer with a block, its receipts, or logs. A block of Ethereum has 10 MiB at most (EIP-7934), twice that
as hex digits. Logs cost 8 gas a byte: 60 million gas make 7.5 MB, 15 MB as digits; the 140 million of BSC 35 MB.
What is larger all the same (small logs by the hundred thousand) is asked for in parts."""
ERROR_LIMIT = 4 * 2**10
"""Bytes of an answer that is an error by its HTTP status: its beginning is for people, the rest is not read."""

CONNECT_TIMEOUT = 3.0
KEEPALIVE_SECONDS = 10.0
"""Below the idle timeout of java-tron and of common proxies, so that it is us who close a connection."""
_CHUNK = 2**16
_MOST_COOKIES = 20
"""Load balancers keep a client at one of their nodes by one or two. More than that are thrown away."""


class TooLarge(Exception):
    """The answer has more bytes than allowed; the rest was not read."""


class Broken(Exception):
    """The connection or the answer broke off. The message is the library's and may hold the URL."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer, unfolded."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Wire(Protocol):
    """What stands between a node and the network; a test gives another one."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], limits: Mapping[int, int]) -> Reply:
        """The answer to one POST of JSON. ``limits`` are the bytes that may be read by HTTP status; of any other status
        the first ``ERROR_LIMIT``. Raises TooLarge, Broken, TimeoutError."""

    async def close(self) -> None:
        """Close the connections."""


class HttpWire:
    """Over aiohttp. The connections are opened with the first request."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=CONNECT_TIMEOUT)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], limits: Mapping[int, int]) -> Reply:
        """See :class:`Wire`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(keepalive_timeout=KEEPALIVE_SECONDS),
                headers={"Content-Type": "application/json", "Accept-Encoding": "gzip"},
                auto_decompress=False,
            )
        elif len(self._session.cookie_jar) > _MOST_COOKIES:
            self._session.cookie_jar.clear()
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                limit = limits.get(response.status)
                read = await _read(response, ERROR_LIMIT if limit is None else limit, whole=limit is not None)
                return Reply(response.status, read, response.headers)
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, zlib.error) as error:
            raise Broken(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _read(response: aiohttp.ClientResponse, limit: int, *, whole: bool) -> bytes:
    """The body, unfolded. With ``whole`` False it is cut at ``limit``. Raises TooLarge, Broken."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    unfolding = _Unfolding(encoding, limit)
    try:
        async for chunk in response.content.iter_chunked(_CHUNK):
            unfolding.feed(chunk)
        unfolding.end()
    except TooLarge:
        if whole:
            raise
    finally:
        if not response.content.at_eof():
            response.close()
    return bytes(unfolding.body)


class _Unfolding:
    """A body as it comes, compressed or not: never more than ``limit`` bytes of it, folded or unfolded."""

    def __init__(self, encoding: str, limit: int) -> None:
        if encoding not in ("identity", "", "gzip", "x-gzip"):
            raise Broken(f"it answers in the encoding {printable(encoding, 20)}, which was not asked for")
        self.body = bytearray()
        self._limit = limit
        self._folded = 0
        self._gzip = zlib.decompressobj(wbits=31) if "gzip" in encoding else None

    def feed(self, chunk: bytes) -> None:
        """Raises TooLarge, zlib.error."""
        self._folded += len(chunk)
        unfolded = chunk
        if self._gzip is not None:
            unfolded = self._gzip.decompress(chunk, self._limit + 1 - len(self.body))
        self.body += unfolded[: self._limit + 1 - len(self.body)]
        if len(self.body) > self._limit or self._folded > self._limit:
            del self.body[self._limit :]
            raise TooLarge

    def end(self) -> None:
        """Raises Broken where a compressed body is not complete."""
        if self._gzip is not None and self._folded and not self._gzip.eof:
            raise Broken("its compressed answer breaks off")
