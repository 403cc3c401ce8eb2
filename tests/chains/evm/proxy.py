"""A node with gaps, as vendors have them, that remembers what it was asked: anvil behind a proxy."""

import asyncio
from typing import Any

import aiohttp
from aiohttp import web

from pipeline.chains.evm.codec.transaction import decode, split
from pipeline.chains.evm.rpc.simulate import PLAIN_GAS
from pipeline.local.anvil_proxy import SEND, FaultProxy, error, txid
from tests.chains.evm.anvil import FINALITY_DEPTH


class OddNode(FaultProxy):
    """It can also be frozen, and do without methods."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        super().__init__(upstream, session)
        self.requests = 0
        """HTTP requests that came."""
        self.methods: list[str] = []
        """Called so far."""
        self.paths: list[str] = []
        """Asked for, with whatever key is in them."""
        self.missing_methods: set[str] = set()
        """Answered with "method not found"."""
        self.pinned: dict[str, Any] = {}
        """Results by method, whatever the node says."""
        self.refuses_overrides = False
        """Of another code for an account, in eth_call."""
        self.largest_range: int | None = None
        """Blocks that it gives logs of; it refuses more."""
        self.most_logs: int | None = None
        """In one answer; it refuses to give more."""
        self.lists_without_last = False
        """The list of a block's receipts lacks the last one."""
        self.lost_receipts: set[str] = set()
        """Transactions whose receipts it does not have, in lists or singly."""
        self.has_receipts = True
        """Else it has pruned all of them."""
        self.missing_tag: str | None = None
        """A way to name a block that it does not know: ``finalized``, ``pending``, ``blockHash``."""
        self.says_null = False
        """Of a missing tag, in place of an error."""
        self.l1_gas = 0
        """Units of gas that every transaction needs for L1, as on Arbitrum: with less in its limit it is refused."""
        self.ahead = 0
        """Calls left of which each meets a new block and is answered from it, whatever block it named."""
        self.undisturbed = asyncio.Lock()
        """No call reaches the node while somebody holds it, to change the node in more than one step."""
        self._frozen_at: int | None = None
        self._remembered: set[str] = set()

    def freeze(self, height: int) -> None:
        """From now on it knows no block above, and keeps what it is sent to itself."""
        self._frozen_at = height

    def remember(self, txid: str) -> None:
        """It says that it knows this one, whatever became of it."""
        self._remembered.add(txid)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests += 1
        self.paths.append(request.path)
        self.methods += [one["method"] for one in (body if isinstance(body, list) else [body])]
        return await super().handle(request)

    async def answer(self, call: dict[str, Any]) -> Any:
        if call["method"] in self.missing_methods:
            return error(call, -32601, f"the method {call['method']} does not exist/is not available")
        if any(
            self.missing_tag == one or (isinstance(one, dict) and self.missing_tag in one) for one in call["params"]
        ):
            if self.says_null:
                return {"jsonrpc": "2.0", "id": call["id"], "result": None}
            return error(call, -32602, f"invalid argument: unknown block {self.missing_tag}")
        if call["method"] in self.pinned:
            return {"jsonrpc": "2.0", "id": call["id"], "result": self.pinned[call["method"]]}
        if self.refuses_overrides and call["method"] == "eth_call" and len(call["params"]) > 2:
            return error(call, -32602, "too many arguments, want at most 2")
        if call["method"] == "eth_call" and self.ahead:
            self.ahead -= 1
            await super().answer({"jsonrpc": "2.0", "id": 0, "method": "evm_mine", "params": []})
            call = {**call, "params": [call["params"][0], "latest"]}
        if call["method"] == "eth_getLogs" and self.largest_range is not None:
            first, last = (int(call["params"][0][name], 16) for name in ("fromBlock", "toBlock"))
            if last - first + 1 > self.largest_range:
                return error(call, -32000, f"exceed maximum block range: {self.largest_range}")
        if call["method"] == SEND:
            sent = txid(call["params"][0])
            limit, needed = _gas_limit(call["params"][0]), PLAIN_GAS + self.l1_gas
            if self.l1_gas and limit < needed:
                return error(call, -32000, f"intrinsic gas too low: gas {limit}, minimum needed {needed}")
            if sent in self._remembered:
                return error(call, -32000, "already known")
            if self._frozen_at is not None:
                return {"jsonrpc": "2.0", "id": call["id"], "result": sent}
        if self._frozen_at is not None:
            call = {**call, "params": [_stale(one, self._frozen_at) for one in call["params"]]}
        async with self.undisturbed:
            answer = await super().answer(call)
        if call["method"] == "eth_getBlockReceipts" and isinstance(answer.get("result"), list):
            found = answer["result"] if self.has_receipts else []
            kept = [one for one in found if one["transactionHash"] not in self.lost_receipts]
            answer = {**answer, "result": kept[:-1] if self.lists_without_last else kept}
        if call["method"] == "eth_getTransactionReceipt":
            lost = not self.has_receipts or call["params"][0] in self.lost_receipts
            answer = {**answer, "result": None} if lost else answer
        if call["method"] == "eth_estimateGas" and "result" in answer:
            answer = {**answer, "result": hex(int(answer["result"], 16) + self.l1_gas)}
        if call["method"] == "eth_getLogs" and len(answer.get("result", ())) > (self.most_logs or 10_000):
            return error(call, -32005, f"query returned more than {self.most_logs} results")
        return answer if self._frozen_at is None else _without_newer(call, answer, self._frozen_at)


def without_tag(node: OddNode, tag: str, *, null: bool = False) -> None:
    """From now on a node does not know that way to name a block; it says so, or answers null."""
    node.missing_tag, node.says_null = tag, null


def _gas_limit(raw: str) -> int:
    return decode(split(bytes.fromhex(raw[2:]))[0]).gas_limit


def _stale(parameter: Any, height: int) -> Any:
    if parameter in ("latest", "pending"):
        return hex(height)
    return hex(max(0, height - FINALITY_DEPTH)) if parameter == "finalized" else parameter


def _without_newer(call: dict[str, Any], answer: Any, height: int) -> Any:
    result = answer.get("result")
    if call["method"] == "eth_blockNumber":
        return {**answer, "result": hex(height)}
    number = (result.get("blockNumber") or result.get("number")) if isinstance(result, dict) else None
    return {**answer, "result": None} if number and int(number, 16) > height else answer
