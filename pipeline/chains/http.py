"""One node over HTTP and JSON: timeouts, API keys with their rate, and suspensions obeyed.

A call here is one attempt. Trying again, and elsewhere, is the business of ``chains.nodes``.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiolimiter import AsyncLimiter

from pipeline.chains.errors import ChainError

JsonObject = dict[str, Any]

KEY_PLACE = "{key}"
"""In a node's URL: where the API key stands, for vendors that want it there and not in a header."""

REQUESTS_PER_SECOND = 12.0
"""Per API key; TronGrid allows 15 and suspends beyond."""
REQUEST_TIMEOUT = 10.0
CONNECT_TIMEOUT = 3.0
KEEPALIVE_SECONDS = 10.0
"""Below the idle timeout of java-tron and of common proxies, so that it is us who close a connection."""
BAN_SECONDS = 30.0
"""403 from TronGrid: it does not say how long, the ban lifts after about this."""
TOO_MANY_SECONDS = 1.0
"""429 without Retry-After."""
UNAVAILABLE_SECONDS = 1.0
"""503 that does not say for how long."""
BAD_KEY_SECONDS = 600.0
"""401: the key will not become right by itself."""
LONGEST_SUSPENSION = 3600.0

_SUSPENDED_FOR = re.compile(r"(?:suspended|banned|blocked)\D{0,20}?(\d+(?:\.\d+)?) ?s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Clock:
    """The passing of time, replaceable so that suspensions can be tested without waiting."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class NodeFailure(ChainError):
    """One attempt at one node gave no usable answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """Short word for records: ``timeout``, ``connection``, ``http 502``, ``not json``, ``suspended``, …"""


class NodeSuspended(NodeFailure):
    """Every key of the node is suspended; ``seconds`` until the first is not."""

    def __init__(self, node: str, seconds: float, why: str) -> None:
        super().__init__("suspended", f"{node} is suspended for {seconds:.0f} s more ({why}): add a node or an API key")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Where a node is."""

    url: str
    solidity_url: str | None = None
    """Where ``walletsolidity/…`` is served when that is another place."""
    ws_url: str | None = None
    """EVM: where it announces new blocks (``ws://`` or ``wss://``); without it the head is polled."""
    requests_per_second: float | None = None
    """Rate per API key; None: 12 with keys, unlimited without (one's own node)."""
    timeout_seconds: float = REQUEST_TIMEOUT
    """For one whole request."""

    @classmethod
    def parse(cls, value: str | Mapping[str, Any]) -> "NodeConfig":
        """From a URL or an element of ``chains.nodes``. Raises ValueError naming the field."""
        fields = {"url": value} if isinstance(value, str) else dict(value)
        known = ("url", "solidity_url", "ws_url", "requests_per_second", "timeout_seconds")
        unknown = fields.keys() - set(known)
        if unknown:
            raise ValueError(f"node has unknown fields {sorted(unknown)}: {', '.join(known)} exist")
        rate, timeout = fields.get("requests_per_second"), fields.get("timeout_seconds", REQUEST_TIMEOUT)
        solidity, ws = fields.get("solidity_url"), fields.get("ws_url")
        return cls(
            _url("url", fields.get("url")),
            None if solidity is None else _url("solidity_url", solidity),
            None if ws is None else _url("ws_url", ws, "ws"),
            None if rate is None else _positive("requests_per_second", rate),
            _positive("timeout_seconds", timeout),
        )

    @property
    def solidity(self) -> str:
        """Where ``walletsolidity/…`` is."""
        return self.solidity_url or self.url


@dataclass(slots=True)
class ApiKey:
    """One key at one node (or none: ``secret`` is None), with its bucket and its suspension."""

    name: str
    secret: str | None = field(repr=False)
    bucket: AsyncLimiter | None
    suspended_until: float = 0.0
    why: str = ""


class Node:
    """One node. Raises :class:`NodeFailure` for everything that is not a JSON answer."""

    speaking_statuses = frozenset({200})
    """HTTP statuses whose body, if it is JSON, is the node's answer."""

    def __init__(
        self,
        config: NodeConfig,
        api_keys: Sequence[str] = (),
        *,
        key_header: str = "TRON-PRO-API-KEY",
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.name = origin(config.url)
        """For messages: without path and user, where providers put keys."""
        self.verified = False
        """Whether its network was compared since it last broke off; set by ``chains.nodes``."""
        self.failures = 0
        """Failures since the last success, and until when it is asked last; both set by ``chains.nodes``."""
        self.resting_until = 0.0
        self._key_header = key_header
        self._clock = clock or Clock()
        self._timeout = aiohttp.ClientTimeout(total=config.timeout_seconds, connect=CONNECT_TIMEOUT)
        self._keys = _keys(config, api_keys)
        self._turn = 0
        self._session: aiohttp.ClientSession | None = None

    @property
    def suspended_for(self) -> float:
        """Seconds until one of its keys may be used again; 0 when one may now."""
        return max(0.0, min(key.suspended_until for key in self._keys) - self._clock.monotonic())

    @property
    def any_key(self) -> str | None:
        """A key for connections made elsewhere (WebSocket)."""
        return self._keys[0].secret

    def suspend(self, seconds: float, why: str) -> None:
        """Leave all its keys alone for a while, for an answer that says so without an HTTP status."""
        for key in self._keys:
            self._suspend(key, seconds, why)

    async def post(
        self, path: str, body: JsonObject | list[JsonObject], *, solidity: bool = False, what: str | None = None
    ) -> Any:
        """The JSON answer to one POST; ``solidity`` sends it to ``solidity_url`` where there is one.

        ``what`` names the question in messages where the path does not.
        """
        base = self.config.solidity if solidity else self.config.url
        place, what = origin(base), what or path
        key = self._next_key()
        if key.bucket is not None:
            await key.bucket.acquire()
        status, text, headers = await self._exchange(key, base, path, what, body)
        if status not in self.speaking_statuses:
            raise self._refused(key, place, what, status, text, headers)
        try:
            return json.loads(text)
        except ValueError as error:
            if status != 200:
                raise self._refused(key, place, what, status, text, headers) from error
            kind = _kind(text)
            raise NodeFailure("not json", f"{place} answered {what} with {kind}, not JSON: {_start(text)}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(
        self, key: ApiKey, base: str, path: str, what: str, body: JsonObject | list[JsonObject]
    ) -> tuple[int, str, Mapping[str, str]]:
        if self._session is None:
            connector = aiohttp.TCPConnector(keepalive_timeout=KEEPALIVE_SECONDS)
            self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        url, headers, place = f"{base}/{path}" if path else base, {}, origin(base)
        if key.secret is not None and KEY_PLACE in url:
            url = url.replace(KEY_PLACE, key.secret)
        elif key.secret is not None:
            headers[self._key_header] = key.secret
        try:
            async with self._session.post(url, json=body, headers=headers) as response:
                return response.status, await response.text(errors="replace"), response.headers
        except TimeoutError as error:
            self.verified = False
            raise NodeFailure("timeout", f"{place} did not answer {what} in {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            self.verified = False
            why = str(error).replace(url, place) or type(error).__name__
            raise NodeFailure("connection", f"{place} broke off at {what}: {why}") from error

    def _next_key(self) -> ApiKey:
        """The next key in turn that is not suspended."""
        now = self._clock.monotonic()
        for step in range(len(self._keys)):
            key = self._keys[(self._turn + step) % len(self._keys)]
            if key.suspended_until <= now:
                self._turn = (self._turn + step + 1) % len(self._keys)
                return key
        first = min(self._keys, key=lambda key: key.suspended_until)
        raise NodeSuspended(self.name, first.suspended_until - now, first.why)

    def _refused(
        self, key: ApiKey, place: str, what: str, status: int, text: str, headers: Mapping[str, str]
    ) -> NodeFailure:
        seconds = _suspension(status, text, headers)
        if seconds is not None:
            self._suspend(key, seconds, f"HTTP {status}")
            told = f"; {key.name} suspended for {seconds:g} s"
        else:
            told = ""
        return NodeFailure(f"http {status}", f"{place} answered {what} with HTTP {status}: {_start(text)}{told}")

    def _suspend(self, key: ApiKey, seconds: float, why: str) -> None:
        until = self._clock.monotonic() + min(seconds, LONGEST_SUSPENSION)
        if until > key.suspended_until:
            key.suspended_until, key.why = until, why


def _keys(config: NodeConfig, secrets: Sequence[str]) -> list[ApiKey]:
    rate = config.requests_per_second or (REQUESTS_PER_SECOND if secrets else None)

    def bucket() -> AsyncLimiter | None:
        # A bucket of one second's worth: bursts within the rate pass, the second after does not pay for them.
        return None if rate is None else AsyncLimiter(max(rate, 1.0), max(rate, 1.0) / rate)

    if KEY_PLACE in config.url and not secrets:
        raise ValueError(f"node {origin(config.url)} has a place for an API key: set FLAGPOST_API_KEYS_<CHAIN>")
    if not secrets:
        return [ApiKey("the node", None, bucket())]
    return [ApiKey(f"API key {number}", secret, bucket()) for number, secret in enumerate(secrets, start=1)]


def _suspension(status: int, text: str, headers: Mapping[str, str]) -> float | None:
    """Seconds to leave the key alone; None when the answer is no word about rate or ban."""
    if status not in (401, 403, 429, 503):
        return None
    asked = _retry_after(headers.get("Retry-After"))
    told = _SUSPENDED_FOR.search(text)
    if asked is None and told is not None:
        asked = float(told[1])
    default = {401: BAD_KEY_SECONDS, 403: BAN_SECONDS, 429: TOO_MANY_SECONDS, 503: UNAVAILABLE_SECONDS}[status]
    return default if asked is None else asked


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def origin(url: str) -> str:
    """``https://host:port`` of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"node field {name} is {value!r}: it must be a number above 0")
    return value


def _url(name: str, value: object, scheme: str = "http") -> str:
    if not isinstance(value, str) or not re.match(rf"{scheme}s?://[^/]+", value):
        raise ValueError(f"node field {name} is {value!r}: it must be a URL like {scheme}://host:8090")
    return value.rstrip("/")


def _kind(text: str) -> str:
    start = text.lstrip()[:15].lower()
    if start.startswith(("<!doctype html", "<html")):
        return "an HTML page"
    return "nothing" if not start else "text"


def _start(text: str) -> str:
    """The beginning of an answer on one line, for messages."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 160 else flat[:157] + "…")
