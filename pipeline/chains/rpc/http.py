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
from urllib.parse import parse_qsl, urlsplit

from aiolimiter import AsyncLimiter

from pipeline.chains.errors import ChainError
from pipeline.chains.rpc.calls import ANSWERED, CALLS, methods_of
from pipeline.chains.rpc.parse import NotJson, parse
from pipeline.chains.rpc.wire import ANSWER_LIMIT, Broken, HttpWire, Reply, TooLarge, Wire
from pipeline.log import LogThrottle, register_secret
from pipeline.printable import printable

JsonObject = dict[str, Any]

KEY_PLACE = "{key}"
"""In a node's URL: where the API key stands, for vendors that want it there and not in a header."""

REQUESTS_PER_SECOND = 12.0
"""Per API key; TronGrid allows 15 and suspends beyond."""
REQUEST_TIMEOUT = 10.0
BAN_SECONDS = 30.0
"""403 from TronGrid: it does not say how long, the ban lifts after about this."""
TOO_MANY_SECONDS = 1.0
"""429 without Retry-After."""
UNAVAILABLE_SECONDS = 1.0
"""503 that does not say for how long."""
BAD_KEY_SECONDS = 600.0
"""401: the key will not become right by itself."""
LONGEST_SUSPENSION = 3600.0

TOO_LARGE = "too large"
"""Code of the failure of an answer that has more bytes than may be read."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SHORTEST_SECRET = 16
"""Characters of a part of a path or query that may be a key."""

_MESSAGE_BYTES = 2_000
"""Of an answer that is no JSON: how much of it is read for a reason."""
_SUSPENDED_FOR = re.compile(r"(?:suspended|banned|blocked)\D{0,20}?(\d+(?:\.\d+)?) ?s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Clock:
    """The passing of time, replaceable so that suspensions can be tested without waiting."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    wall: Callable[[], float] = time.time
    """Seconds since 1970: only to see that a node's blocks are not from the future."""


class NodeFailure(ChainError):
    """One attempt at one node gave no usable answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """Short word for records: ``timeout``, ``connection``, ``http 502``, ``not json``, ``too large``, …"""


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
        _register_secrets(config)
        self.config = config
        self.name = origin(config.url)
        """For messages: without path and user, where providers put keys."""
        self.verified = False
        """Whether its network was compared since it last broke off; set by ``chains.nodes``."""
        self.failures = 0
        """Failures since the last success, and until when it is asked last; both set by ``chains.nodes``."""
        self.resting_until = 0.0
        self.troubles = 0
        """All failures, what the last one was, and when; set by ``chains.nodes``."""
        self.trouble = ""
        self.troubled_at = 0.0
        self.complaint = LogThrottle()
        self.unforeseen = LogThrottle()
        """For the traceback of an answer that raised what nobody expects."""
        self._key_header = key_header
        self._clock = clock or Clock()
        self._keys = _keys(config, api_keys)
        self._turn = 0
        self._wire: Wire = HttpWire(config.timeout_seconds)

    @property
    def suspended_for(self) -> float:
        """Seconds until one of its keys may be used again; 0 when one may now."""
        return max(0.0, min(key.suspended_until for key in self._keys) - self._clock.monotonic())

    @property
    def requests_per_second(self) -> float | None:
        """What its keys allow together; None: as many as it answers."""
        rates = [key.bucket.max_rate / key.bucket.time_period for key in self._keys if key.bucket is not None]
        return sum(rates) if rates else None

    @property
    def any_key(self) -> str | None:
        """A key for connections made elsewhere (WebSocket)."""
        return self._keys[0].secret

    def suspend(self, seconds: float, why: str) -> None:
        """Leave all its keys alone for a while, for an answer that says so without an HTTP status."""
        for key in self._keys:
            self._suspend(key, seconds, why)

    @property
    def now(self) -> float:
        """Seconds since 1970, by this machine's clock."""
        return self._clock.wall()

    async def post(
        self,
        path: str,
        body: JsonObject | list[JsonObject],
        *,
        solidity: bool = False,
        what: str | None = None,
        limit: int = ANSWER_LIMIT,
    ) -> Any:
        """The JSON answer to one POST; ``solidity`` sends it to ``solidity_url`` where there is one.

        ``what`` names the question in messages where the path does not; ``limit`` is how many bytes are read.
        """
        base = self.config.solidity if solidity else self.config.url
        place, what = origin(base), what or path
        key = self._next_key()
        if key.bucket is not None:
            # Vendors count the requests of a body one by one.
            for _ in range(len(body) if isinstance(body, list) else 1):
                await key.bucket.acquire()
        began, result = self._clock.monotonic(), ANSWERED
        try:
            return await self._answer(key, base, path, what, body, limit)
        except NodeFailure as failure:
            result = failure.code
            raise
        finally:
            CALLS.note(place, methods_of(path, body), result, self._clock.monotonic() - began)

    async def close(self) -> None:
        await self._wire.close()

    async def _answer(
        self, key: ApiKey, base: str, path: str, what: str, body: JsonObject | list[JsonObject], limit: int
    ) -> Any:
        place = origin(base)
        reply = await self._exchange(key, base, path, what, body, limit)
        if reply.status in _REDIRECTS:
            raise _redirected(place, what, reply)
        if reply.status not in self.speaking_statuses:
            raise self._refused(key, place, what, reply)
        try:
            return parse(reply.body)
        except NotJson as error:
            if reply.status != 200:
                raise self._refused(key, place, what, reply) from error
            raise NodeFailure("not json", f"{place} answered {what} with {_kind(reply.body, error)}") from error

    async def _exchange(
        self, key: ApiKey, base: str, path: str, what: str, body: JsonObject | list[JsonObject], limit: int
    ) -> Reply:
        url, headers, place = f"{base}/{path}" if path else base, {}, origin(base)
        if key.secret is not None and KEY_PLACE in url:
            url = url.replace(KEY_PLACE, key.secret)
        elif key.secret is not None:
            headers[self._key_header] = key.secret
        limits = dict.fromkeys(self.speaking_statuses, limit)
        try:
            return await self._wire.post(url, json.dumps(body).encode(), headers, limits)
        except TimeoutError as error:
            self.verified = False
            seconds = self.config.timeout_seconds
            raise NodeFailure("timeout", f"{place} did not answer {what} in {seconds:g} s") from error
        except Broken as error:
            self.verified = False
            why = printable(" ".join(str(error).replace(url, place).split()))
            raise NodeFailure("connection", f"{place} broke off at {what}: {why}") from error
        except TooLarge as error:
            raise NodeFailure(TOO_LARGE, f"{place} answered {what} with more than {limit} bytes: not read") from error

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

    def _refused(self, key: ApiKey, place: str, what: str, reply: Reply) -> NodeFailure:
        said = reply.body[:_MESSAGE_BYTES].decode("utf-8", "replace")
        seconds = _suspension(reply.status, said, reply.headers)
        if seconds is not None:
            self._suspend(key, seconds, f"HTTP {reply.status}")
            told = f"; {key.name} is suspended for {seconds:g} s"
        else:
            told = ""
        return NodeFailure(
            f"http {reply.status}", f"{place} answered {what} with HTTP {reply.status}: {_start(said)}{told}"
        )

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
    """Seconds of a Retry-After header, which is a number or a date; None for anything else."""
    if value is None or len(value) > 64 or not value.isascii():
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return max(0.0, (aware - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def origin(url: str) -> str:
    """``https://host:port`` of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"node field {name} is {value!r}: it must be a number above 0")
    return value


def _url(name: str, value: object, scheme: str = "http") -> str:
    if not isinstance(value, str) or not re.match(rf"{scheme}s?://[^/?#]+", value) or not _has_host(value):
        found = f"'{without_secrets(value)}'" if isinstance(value, str) else repr(value)
        raise ValueError(f"node field {name} is {found}: it must be a URL like {scheme}://host:8090")
    return value.rstrip("/")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0) and url.isprintable()
    except ValueError:
        return False


def without_secrets(url: str) -> str:
    """What of something that should be a URL may be shown: no user, path or query."""
    scheme, separator, rest = url.rpartition("://")
    return printable(scheme + separator + re.split(r"[/?#]", rest)[0].rpartition("@")[2], 80)


def _register_secrets(config: NodeConfig) -> None:
    """No log line has a key that stands in a URL."""
    for url in (config.url, config.solidity_url, config.ws_url):
        if url is None:
            continue
        parts = urlsplit(url)
        # A token may stand as the user; a name is too short, and would blank half of a log.
        within = [parts.username or "", *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
        for one in (parts.password or "", *(part for part in within if len(part) >= _SHORTEST_SECRET)):
            if KEY_PLACE not in one:
                register_secret(one)


def _redirected(place: str, what: str, reply: Reply) -> NodeFailure:
    target = without_secrets(reply.headers.get("Location", ""))
    return NodeFailure(
        f"http {reply.status}",
        f"{place} sends {what} on to {target or 'nowhere'} (HTTP {reply.status}), which is not followed: if the node "
        "is there, name that URL in FLAGPOST_NODES_<CHAIN> or chains.nodes",
    )


def _kind(body: bytes, why: NotJson) -> str:
    """What an answer is that cannot be read, and how it begins."""
    said = body[:_MESSAGE_BYTES].decode("utf-8", "replace")
    start = said.lstrip()[:15].lower()
    if start.startswith(("<!doctype html", "<html")):
        return f"an HTML page, not JSON: {_start(said)}"
    if start.startswith(("{", "[")):
        return f"what cannot be read as JSON ({printable(str(why))}): {_start(said)}"
    return f"{'nothing' if not start else 'text'}, not JSON: {_start(said)}"


def _start(text: str) -> str:
    """The beginning of an answer on one line, for messages."""
    return f"'{printable(' '.join(text.split()), 160)}'"
