"""An EVM node: JSON-RPC over the shared HTTP node, and web3 on top of it.

web3 talks through our transport, so that its calls too have our timeouts, rate, suspensions and errors.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, cast

from web3 import AsyncWeb3
from web3.exceptions import BlockNotFound
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import BlockIdentifier, RPCEndpoint, RPCResponse

from pipeline.chains.errors import LyingNode, WrongNetwork
from pipeline.chains.http import TOO_MANY_SECONDS, Clock, JsonObject, Node, NodeConfig, NodeFailure
from pipeline.chains.provider import BlockRef, Finality

Request = tuple[str, Sequence[Any]]

TAGS: Mapping[Finality, str] = {Finality.HEAD: "latest", Finality.FINAL: "finalized"}
KEY_HEADER = "x-api-key"
"""Where the URL has no place for the key."""
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
LIMIT_EXCEEDED = -32005
"""Of vendors: too many requests; at eth_getLogs also a range or result that is too large."""
LARGEST_BATCH = 100
"""Requests in one HTTP body; vendors' limits are 100 to 1,000."""

_RATE_WORDS = ("rate limit", "too many requests", "request limit", "requests per second", "capacity", "quota")


class RpcError(NodeFailure):
    """A JSON-RPC error. Where it is an answer to the question (a revert, a refusal) the caller catches it; where it
    is not, it is one more failure of this node."""

    def __init__(self, node: str, method: str, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"rpc {code}", f"{node} answered {method} with error {code}: {message[:200]}")
        self.rpc_code = code
        self.reason = message
        """The node's words alone."""
        self.data = data
        """What a reverting contract returned, as hex digits, where the node says so."""


class EvmNode(Node):
    """JSON-RPC. Raises RpcError for error answers, NodeFailure for everything else that is no answer."""

    speaking_statuses = frozenset({200, 400, 404, 405, 500})
    """Some vendors put JSON-RPC errors under these."""

    takes_batches = True
    """Whether it takes several requests in one body; found out by asking."""
    has_block_receipts = True
    """Whether it knows eth_getBlockReceipts; found out by asking."""
    has_overrides = True
    """Whether its eth_call takes another code for an account; found out by asking."""

    def __init__(
        self,
        config: NodeConfig,
        api_keys: Sequence[str] = (),
        *,
        clock: Clock | None = None,
        books_l1_fee: bool = True,
    ) -> None:
        """``books_l1_fee``: what its receipts call a fee for L1 is paid beside the gas."""
        super().__init__(config, api_keys, key_header=KEY_HEADER, clock=clock)
        self.books_l1_fee = books_l1_fee
        self._ids = count(1)
        # Blocks of proof-of-authority chains (BSC) carry more extraData than web3 takes without this.
        self.web3 = AsyncWeb3(_Transport(self), middleware=[ExtraDataToPOAMiddleware])

    async def call(self, method: str, *params: Any) -> Any:
        """The ``result`` of one request, as JSON has it."""
        answer = await self.post("", self._request(method, params), what=method)
        return self._result(method, answer)

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """The results of several requests in their order, a RpcError standing for each that failed.

        In one HTTP request where the node takes that, so mostly answered from one state. Raises NodeFailure when
        the answer as a whole is unusable.
        """
        answers: list[Any] = []
        for start in range(0, len(requests), LARGEST_BATCH):
            part = requests[start : start + LARGEST_BATCH]
            answers += await (self._together(part) if self.takes_batches and len(part) > 1 else self._one_by_one(part))
        return answers

    async def block_ref(self, finality: Finality, number: int | None = None) -> BlockRef:
        """The newest block of that finality, or the one at ``number``. Raises LyingNode for another number."""
        which = TAGS[finality] if number is None else number
        try:
            block = await self.web3.eth.get_block(cast(BlockIdentifier, which))
        except BlockNotFound as error:
            raise NodeFailure("no block", f"{self.name} does not have block {which}") from error
        with reading(self, f"block {which}"):
            ref = BlockRef(int(block["number"]), block["hash"].to_0x_hex(), timestamp(block["timestamp"]))
        if number is not None and ref.number != number:
            raise LyingNode(f"node {self.name} was asked for block {number} and answered block {ref.number}")
        return ref

    def result_or_error(self, method: str, answer: Any) -> Any:
        """The result of one answer of a batch, or its RpcError as a value."""
        try:
            return self._result(method, answer)
        except RpcError as error:
            return error

    def _request(self, method: str, params: Sequence[Any]) -> JsonObject:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    def _result(self, method: str, answer: Any) -> Any:
        if not isinstance(answer, dict) or ("result" not in answer and not answer.get("error")):
            raise NodeFailure("shape", f"{self.name} answered {method} in an unknown form: {str(answer)[:120]}")
        error = answer.get("error")
        if not error:
            return answer["result"]
        with reading(self, f"the error of {method}"):
            code, message = int(error.get("code", 0)), str(error.get("message", ""))
        if _about_rate(method, code, message):
            self.suspend(TOO_MANY_SECONDS, message[:80])
            raise NodeFailure("rate limit", f"{self.name} answered {method} with error {code}: {message[:200]}")
        raise RpcError(self.name, method, code, message, error.get("data"))

    async def _together(self, requests: Sequence[Request]) -> list[Any]:
        bodies = [self._request(method, params) for method, params in requests]
        answer = await self.post("", bodies, what=f"{len(bodies)} requests")
        if isinstance(answer, dict):
            # One error for all: about the rate, or this node takes no batches.
            error = self.result_or_error("a batch", answer)
            if not isinstance(error, RpcError):
                raise NodeFailure("shape", f"{self.name} answered a batch with one result")
            self.takes_batches = False
            return await self._one_by_one(requests)
        with reading(self, "a batch"):
            by_id = {one["id"]: one for one in answer}
        missing = [body["method"] for body in bodies if body["id"] not in by_id]
        if missing:
            raise NodeFailure("shape", f"{self.name} left {missing[0]} of a batch without an answer")
        return [self.result_or_error(body["method"], by_id[body["id"]]) for body in bodies]

    async def _one_by_one(self, requests: Sequence[Request]) -> list[Any]:
        answers: list[Any] = []
        for method, params in requests:
            try:
                answers.append(await self.call(method, *params))
            except RpcError as error:
                answers.append(error)
        return answers


class _Transport(AsyncJSONBaseProvider):
    """web3's way to the node."""

    def __init__(self, node: EvmNode) -> None:
        super().__init__()
        self._node = node

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        return cast(RPCResponse, {"jsonrpc": "2.0", "id": 0, "result": await self._node.call(method, *(params or ()))})


async def check_chain_id(node: EvmNode, chain_id: int) -> None:
    """Raises WrongNetwork, NodeFailure."""
    with reading(node, "its chain id"):
        found = int(await node.web3.eth.chain_id)
    if found != chain_id:
        raise WrongNetwork(
            f"node {node.name} belongs to another network: its chain id is {found}, this chain's is {chain_id}; "
            f"correct chains.nodes or chains.network_id"
        )


def block_ref(node: EvmNode, answer: Any, number: int | None = None) -> BlockRef:
    """The block that a raw answer describes. Raises LyingNode when it is not ``number``."""
    with reading(node, "a block"):
        ref = BlockRef(int(answer["number"], 16), hash_text(answer["hash"]), timestamp(int(answer["timestamp"], 16)))
    if number is not None and ref.number != number:
        raise LyingNode(f"node {node.name} was asked for block {number} and answered block {ref.number}")
    return ref


def wanted(answer: Any) -> Any:
    """A batch's answer that has to be there: its error is raised."""
    if isinstance(answer, RpcError):
        raise answer
    return answer


def hash_text(value: object) -> str:
    """0x and 64 lower-case hex digits. Raises ValueError for anything else."""
    text = str(value).lower()
    if len(text) != 66 or not text.startswith("0x"):
        raise ValueError(f"{text[:80]!r} is not a hash of 32 bytes")
    int(text, 16)
    return text


def timestamp(seconds: int) -> datetime:
    """An aware UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)


@contextmanager
def reading(node: Node, what: str) -> Iterator[None]:
    """Around code that takes an answer apart: one of another shape becomes a NodeFailure."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise NodeFailure(
            "shape", f"{node.name} answered {what} in an unknown form ({type(error).__name__}: {error})"
        ) from error


def _about_rate(method: str, code: int, message: str) -> bool:
    if code == 429:
        return True
    if code == LIMIT_EXCEEDED and method != "eth_getLogs":
        return True
    return code < 0 and any(word in message.lower() for word in _RATE_WORDS)
