"""What vendors say when a range of logs is too large for them, and what they say for other reasons."""

from typing import Any

import pytest

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.evm.codec.address import from_bytes
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.values import Asset
from tests.unit.chains.scripted_node import FakeTime, ScriptedNode, scripted_node

TOKEN = from_bytes(b"\x11" * 20)
MOST = 7
"""Blocks that the scripted node takes."""
FINAL = 1_000

TOO_LARGE = [
    (-32005, "query returned more than 10000 results"),
    (-32005, "limit exceeded"),
    (-32000, "exceed maximum block range: 5000"),
    (-32000, "requested too many blocks from 1 to 4000, maximum is set to 2048"),
    (-32602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range"),
    (-32602, "eth_getLogs block range too large, range: 4000, max: 1000"),
    (-32614, "eth_getLogs is limited to a 10,000 range"),
    (-32062, "Block range is too large"),
    (-32603, "block range is too wide"),
    (-32000, "logs matched by query exceeds limit of 10000"),
    (-32000, "query exceeds max results 20000, retry with the range 1-2"),
    (-32000, "ranges over 10000 blocks are not supported on free plans"),
    (-32000, "Please limit your query to at most 1000 blocks"),
    (-32000, "query timeout exceeded"),
]
OTHERS = [
    (-32000, "missing trie node 5f (path )"),
    (-32601, "the method eth_getLogs does not exist/is not available"),
    (-32000, "header not found"),
]


def answering(code: int, message: str, asked: list[int]) -> Any:
    """A node that refuses ranges of more than ``MOST`` blocks with these words; ``asked`` gets their lengths."""

    def answer(body: Any) -> Any:
        if isinstance(body, list):
            return [answer(one) for one in body]
        said: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"]}
        if body["method"] == "eth_chainId":
            return {**said, "result": "0x1"}
        if body["method"] == "eth_blockNumber":
            return {**said, "result": hex(FINAL)}
        if body["method"] == "eth_getBlockByNumber":
            block = {"number": hex(FINAL), "hash": "0x" + "ab" * 32, "timestamp": "0x1", "parentHash": "0x" + "00" * 32}
            return {**said, "result": block}
        (question,) = body["params"]
        length = int(question["toBlock"], 16) - int(question["fromBlock"], 16) + 1
        asked.append(length)
        if length > MOST:
            return {**said, "error": {"code": code, "message": message}}
        return {**said, "result": []}

    return answer


def provider_of(node: ScriptedNode, time: FakeTime) -> EvmProvider:
    clock = Clock(time.monotonic, time.sleep)
    return EvmProvider("chain", 1, [NodeConfig(node.url)], [Asset("ETH", 18)], clock=clock, patience=1.0)


@pytest.mark.parametrize(("code", "message"), TOO_LARGE)
async def test_a_range_that_is_too_large_is_halved(code: int, message: str) -> None:
    asked: list[int] = []
    time = FakeTime()
    async with scripted_node() as node:
        node.answers[""] = answering(code, message, asked)
        provider = provider_of(node, time)
        assert await provider.transfers(1, 400, [TOKEN]) == []
        await provider.close()
    assert asked[0] == 400
    assert sum(length for length in asked if length <= MOST) == 400, "every block once"
    assert not time.slept, "no fault of the node"


@pytest.mark.parametrize(("code", "message"), OTHERS)
async def test_another_error_is_the_nodes_own(code: int, message: str) -> None:
    asked: list[int] = []
    async with scripted_node() as node:
        node.answers[""] = answering(code, message, asked)
        provider = provider_of(node, FakeTime())
        with pytest.raises(ChainUnavailable, match=message[:12]):
            await provider.transfers(1, 400, [TOKEN])
        await provider.close()
    assert set(asked) == {400}
