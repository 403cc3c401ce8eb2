"""An EVM node: JSON-RPC over the shared HTTP node. Of what it says only the fields that are used are read."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.chains.errors import InconsistentNode, WrongNetwork
from pipeline.chains.evm.rpc.batches import BatchedCalls
from pipeline.chains.evm.rpc.replies import LIMIT_EXCEEDED as LIMIT_EXCEEDED
from pipeline.chains.evm.rpc.replies import METHOD_NOT_FOUND as METHOD_NOT_FOUND
from pipeline.chains.evm.rpc.replies import RateLimited
from pipeline.chains.evm.rpc.replies import Request as Request
from pipeline.chains.evm.rpc.replies import RpcError as RpcError
from pipeline.chains.evm.rpc.replies import wanted as wanted
from pipeline.chains.rpc.answers import MAX_HEIGHT, field, moment, quantity
from pipeline.chains.rpc.answers import hash_text as hash_text
from pipeline.chains.rpc.answers import reading as reading
from pipeline.chains.rpc.http import TOO_MANY_SECONDS, Clock, JsonObject, Node, NodeConfig, NodeFailure
from pipeline.chains.rpc.wire import ANSWER_LIMIT, BLOCK_LIMIT
from pipeline.chains.values import BlockRef, Finality

TAGS: Mapping[Finality, str] = {Finality.HEAD: "latest", Finality.FINAL: "finalized"}
KEY_HEADER = "x-api-key"
"""Where the URL has no place for the key."""
APART = 16
"""Blocks that two answers of one moment may be apart: several nodes answer at one address, and some are behind."""
_LARGE = frozenset(
    {
        "eth_getBlockByNumber",
        "eth_getBlockReceipts",
        "eth_getLogs",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
    }
)
"""Methods whose answers grow with a block."""
_ALONE = _LARGE | {"eth_sendRawTransaction"}
"""Methods that share no body: with many others a slow one of them would take a payment's reply away."""


class EvmNode(Node):
    """JSON-RPC. Raises RpcError for error answers, NodeFailure for everything else that is no answer."""

    speaking_statuses = frozenset({200, 400, 404, 405, 500})
    """Some vendors put JSON-RPC errors under these."""

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
        charges_l1_fee: bool = True,
    ) -> None:
        """``charges_l1_fee``: the L1 fee in its receipts is paid on top of the gas."""
        super().__init__(config, api_keys, key_header=KEY_HEADER, clock=clock)
        self.charges_l1_fee = charges_l1_fee
        self.batches = BatchedCalls(self, self._send, clock or Clock())

    async def call(self, method: str, *params: Any) -> Any:
        """The ``result`` of one request, as JSON has it."""
        try:
            if method in _ALONE:
                return await self.batches.call(method, params)
            return wanted((await self.batches.join([(method, params)]))[0])
        except RateLimited as limited:
            self.suspend(TOO_MANY_SECONDS, limited.reason[:80])
            raise

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """The results of several requests in their order; in place of one that failed its RpcError, in place of one
        whose answer is too large its NodeFailure (``wanted`` raises either).

        In one HTTP request where the node takes that, so mostly answered from one state. Raises NodeFailure when
        the answer as a whole is unusable.
        """
        try:
            if any(method in _ALONE for method, _ in requests):
                return await self.batches.ask(requests)
            return await self.batches.join(requests)
        except RateLimited as limited:
            self.suspend(TOO_MANY_SECONDS, limited.reason[:80])
            raise

    async def block_ref(self, finality: Finality, number: int | None = None) -> BlockRef:
        """The newest block of that finality, or the one at ``number``. Raises InconsistentNode for another number,
        NodeFailure, also for a final block far above the newest one."""
        if number is not None:
            return self._ref(await self.call("eth_getBlockByNumber", hex(number), False), number)
        if finality is Finality.HEAD:
            return self._ref(await self.call("eth_getBlockByNumber", TAGS[finality], False))
        answer, height = await self.batch([("eth_getBlockByNumber", [TAGS[finality], False]), ("eth_blockNumber", [])])
        final = self._ref(wanted(answer))
        with reading(self, "eth_blockNumber"):
            head = quantity(wanted(height), "the height", MAX_HEIGHT)
        if final.number > head + APART:
            raise NodeFailure("shape", f"{self.name} calls block {final.number} final and is at block {head}")
        return final

    def _ref(self, answer: Any, number: int | None = None) -> BlockRef:
        if answer is None:
            raise NodeFailure("no block", f"{self.name} does not have block {'(newest)' if number is None else number}")
        return block_ref(self, answer, number)

    async def _send(self, body: JsonObject | list[JsonObject], what: str) -> Any:
        methods = {one["method"] for one in (body if isinstance(body, list) else [body])}
        return await self.post("", body, what=what, limit=BLOCK_LIMIT if methods & _LARGE else ANSWER_LIMIT)


async def check_chain_id(node: EvmNode, chain_id: int) -> None:
    """Raises WrongNetwork, NodeFailure."""
    answer = await node.call("eth_chainId")
    with reading(node, "eth_chainId"):
        found = quantity(answer, "the chain id")
    if found != chain_id:
        raise WrongNetwork(
            f"node {node.name} belongs to another network: its chain id is {found}, this chain's is {chain_id}; "
            f"correct chains.nodes or chains.network_id"
        )


def block_ref(node: EvmNode, answer: Any, number: int | None = None) -> BlockRef:
    """The block that a raw answer describes. Raises InconsistentNode when it is not ``number``, NodeFailure."""
    with reading(node, "a block"):
        ref = BlockRef(
            quantity(field(answer, "number"), "number", MAX_HEIGHT),
            hash_text(field(answer, "hash"), "hash"),
            moment(quantity(field(answer, "timestamp"), "timestamp"), node.now, "timestamp"),
        )
    if number is not None and ref.number != number:
        raise InconsistentNode(f"node {node.name} was asked for block {number} and answered block {ref.number}")
    return ref
