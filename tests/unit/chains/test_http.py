"""One node: every way of not answering is a usable error, and suspensions are obeyed."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiolimiter import AsyncLimiter

from pipeline.chains.rpc.http import Clock, Node, NodeConfig, NodeFailure, NodeSuspended
from pipeline.log import REDACTED, redact
from tests.logs import logging_restored
from tests.unit.chains.scripted_node import Answer, FakeTime, scripted_node


def node_of(url: str, keys: tuple[str, ...] = (), time: FakeTime | None = None, timeout: float = 5.0) -> Node:
    time = time or FakeTime()
    config = NodeConfig(url, timeout_seconds=timeout)
    return Node(config, keys, clock=Clock(time.monotonic, time.sleep))


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (Answer("<!DOCTYPE html><html><body>Welcome"), "not json", "an HTML page, not JSON"),
        (Answer(""), "not json", "nothing, not JSON"),
        (Answer("upstream sad"), "not json", "text, not JSON: 'upstream sad'"),
        (Answer("<html>502 Bad Gateway</html>", 502), "http 502", "HTTP 502: '<html>502"),
        (Answer("", 500), "http 500", "HTTP 500"),
        (Answer("no such path", 404), "http 404", "HTTP 404"),
        (Answer(drop=True), "connection", "broke off at wallet/x"),
    ],
)
async def test_what_is_not_json_is_an_error_naming_the_node(answer: Answer, code: str, message: str) -> None:
    async with scripted_node() as scripted:
        scripted.faults = [answer]
        node = node_of(scripted.url)
        with pytest.raises(NodeFailure, match=message) as caught:
            await node.post("wallet/x", {})
        assert caught.value.code == code
        assert scripted.url in str(caught.value)
        await node.close()


async def test_a_node_that_does_not_answer_in_time() -> None:
    never = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    node = node_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=0.05)
    node.verified = True
    with pytest.raises(NodeFailure, match=r"did not answer wallet/x in 0\.05 s") as caught:
        await node.post("wallet/x", {})
    assert caught.value.code == "timeout"
    assert not node.verified, "whoever answers next may be another node"
    await node.close()
    never.set()
    server.close()


async def test_a_node_that_is_not_there() -> None:
    node = node_of("http://127.0.0.1:1")
    with pytest.raises(NodeFailure, match="broke off"):
        await node.post("wallet/x", {})
    await node.close()


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer("slow down", 429), 1),
        (Answer("slow down", 429, {"Retry-After": "7"}), 7),
        (Answer("banned", 403), 30),
        (Answer("you are banned for 12 s", 403), 12),
        (Answer("exceeded the allowed_rps(3) ... suspended for 5 s", 503), 5),
        (Answer("The key exceeds the frequency limit(15), suspended for 5s", 503), 5),
        (Answer("maintenance", 503), 1),
        (Answer("bad key", 401), 600),
        (Answer("later", 503, {"Retry-After": "999999"}), 3600),
    ],
)
async def test_suspensions_are_obeyed_and_end(answer: Answer, seconds: float) -> None:
    time = FakeTime()
    async with scripted_node(wallet_x={"ok": 1}) as scripted:
        scripted.faults = [answer]
        node = node_of(scripted.url, time=time)
        with pytest.raises(NodeFailure, match=f"HTTP {answer.status}"):
            await node.post("wallet/x", {})
        assert node.suspended_for == seconds
        time.now += seconds - 0.5
        with pytest.raises(NodeSuspended, match="add a node or an API key"):
            await node.post("wallet/x", {})
        assert len(scripted.asked) == 1, "a suspended node is not asked"
        time.now += 0.5
        assert await node.post("wallet/x", {}) == {"ok": 1}
        await node.close()


async def test_retry_after_may_be_a_date() -> None:
    async with scripted_node() as scripted:
        scripted.faults = [Answer("", 429, {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=90))})]
        node = node_of(scripted.url)
        with pytest.raises(NodeFailure):
            await node.post("wallet/x", {})
        assert 80 < node.suspended_for <= 90
        await node.close()


async def test_keys_take_turns_and_a_suspended_one_is_left_out() -> None:
    time = FakeTime()
    async with scripted_node(wallet_x={}) as scripted:
        node = node_of(scripted.url, ("one", "two", "three"), time)
        for _ in range(4):
            await node.post("wallet/x", {})
        assert scripted.keys == ["one", "two", "three", "one"]
        scripted.faults = [Answer("banned", 403)]
        with pytest.raises(NodeFailure, match="API key 2 is suspended for 30 s") as caught:
            await node.post("wallet/x", {})
        assert "two" not in str(caught.value), "keys are secrets"
        assert node.suspended_for == 0
        scripted.keys.clear()
        for _ in range(4):
            await node.post("wallet/x", {})
        assert scripted.keys == ["three", "one", "three", "one"]
        time.now += 30
        await node.post("wallet/x", {})
        await node.post("wallet/x", {})
        assert "two" in scripted.keys
        await node.close()


async def test_each_key_has_a_bucket_and_none_is_needed_without_keys() -> None:
    node = node_of("http://127.0.0.1:1", ("secret-one", "secret-two"))
    buckets = [key.bucket for key in node._keys]
    assert all(bucket is not None and bucket.max_rate == 12 for bucket in buckets)
    assert buckets[0] is not buckets[1]
    assert node_of("http://127.0.0.1:1")._keys[0].bucket is None
    assert "secret" not in repr(node._keys)
    slow = Node(NodeConfig("http://127.0.0.1:1", requests_per_second=0.5))._keys[0].bucket
    assert slow is not None
    assert (slow.max_rate, slow.time_period) == (1, 2)


async def test_the_bucket_holds_requests_back() -> None:
    class ClosedBucket(AsyncLimiter):
        def __init__(self) -> None:
            super().__init__(1, 1)
            self.reached, self.opened = asyncio.Event(), asyncio.Event()

        async def acquire(self, amount: float = 1) -> None:
            self.reached.set()
            await self.opened.wait()

    async with scripted_node(wallet_x={}) as scripted:
        node = node_of(scripted.url, ("key",))
        bucket = node._keys[0].bucket = ClosedBucket()
        waiting = asyncio.create_task(node.post("wallet/x", {}))
        await bucket.reached.wait()
        assert scripted.asked == []
        bucket.opened.set()
        assert await waiting == {}
        await node.close()


async def test_solidity_may_be_served_elsewhere() -> None:
    async with scripted_node() as full, scripted_node(walletsolidity_x={"from": "solidity"}) as solidity:
        node = Node(NodeConfig.parse({"url": full.url + "/", "solidity_url": solidity.url}))
        assert await node.post("walletsolidity/x", {}, solidity=True) == {"from": "solidity"}
        assert full.asked == []
        await node.close()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tron.example", "field url is 'tron.example'"),
        ({}, "field url is None"),
        ({"url": "http://h", "solidity_url": "ftp://h"}, "field solidity_url"),
        ({"url": "http://h", "key": "x"}, r"unknown fields \['key'\]"),
        ({"url": "http://h", "requests_per_second": 0}, "requests_per_second is 0"),
        ({"url": "http://h", "timeout_seconds": "10"}, "timeout_seconds is '10'"),
    ],
)
def test_bad_node_configuration_names_the_field(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NodeConfig.parse(value)  # type: ignore[arg-type]


def test_what_may_be_a_key_in_a_url_stands_in_no_log_line() -> None:
    with logging_restored():
        for url in (
            "https://rpc.example/v3/0123456789abcdef0123",
            "https://rpc.example/?apikey=fedcba9876543210fedc",
            "https://operator:hunter22hunter22@rpc.example/bsc/mainnet",
            "https://a-token-of-thirty-characters-x@rpc.example",
        ):
            node_of(url)
        line = "0123456789abcdef0123 fedcba9876543210fedc hunter22hunter22 a-token-of-thirty-characters-x"
        assert redact(line) == " ".join([REDACTED] * 4)
        assert redact("operator of bsc at rpc.example, mainnet") == "operator of bsc at rpc.example, mainnet"


async def test_messages_show_neither_path_nor_user_of_a_url() -> None:
    async with scripted_node() as scripted:
        node = node_of(scripted.url.replace("http://", "http://user:pass@") + "/secret-key")
        with pytest.raises(NodeFailure, match="HTTP 404") as caught:
            await node.post("wallet/x", {})
        assert scripted.asked == ["secret-key/wallet/x"]
        assert scripted.url in str(caught.value)
        assert not any(word in str(caught.value) for word in ("secret", "user", "pass"))
        await node.close()
