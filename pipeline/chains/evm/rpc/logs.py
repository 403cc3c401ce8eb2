"""Token transfers of many final blocks by their logs, in ranges that a node takes: halved when it refuses, grown again.

Every vendor has limits of its own on blocks and results, and words of its own for them; none says them beforehand.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.chains.errors import ChainError
from pipeline.chains.evm.rpc.blocks import TRANSFER_TOPIC, log_transfer, read_block
from pipeline.chains.evm.rpc.node import LIMIT_EXCEEDED, EvmNode, RpcError, hash_text, reading
from pipeline.chains.rpc.answers import MAX_HEIGHT, MalformedAnswer, field, quantity, sequence
from pipeline.chains.rpc.http import TOO_LARGE, NodeFailure
from pipeline.chains.rpc.nodes import Nodes
from pipeline.chains.values import Finality, TokenTransfer

FIRST_SPAN = 500
LARGEST_SPAN = 2_000
"""Blocks in one question. More than any vendor is sure to take."""

_TOO_MUCH = re.compile(
    r"more than \d|at most \d|up to a \d|too (many|large|wide|big|long)|block range|ranges? over|(size|range) exceed"
    r"|exceed\w* (the )?(max|limit|range|block)|limit(ed)? (to|of|exceeded)|max(imum)? (is|results|range|block)"
    r"|response size|time(d )?.?out",
    re.IGNORECASE,
)
"""About the range that was asked for. Words about the rate are taken out before, by the node."""


class _TooMuch(ChainError):
    """The node takes a smaller range; ``failure`` is what it said."""

    def __init__(self, failure: NodeFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class TransferLogs:
    """Reads through a chain's nodes and learns how many blocks a question may be about."""

    def __init__(self, nodes: Nodes[EvmNode]) -> None:
        self.span = FIRST_SPAN
        self._nodes = nodes

    async def read(self, first: int, last: int, contracts: Sequence[str]) -> list[TokenTransfer]:
        """The transfers of these tokens in final blocks ``first`` to ``last``, in their order. Raises ChainUnavailable
        also when no node has all of these blocks as final."""
        found: list[TokenTransfer] = []
        while contracts and first <= last:
            upto = min(last, first + self.span - 1)
            try:
                found += await self._nodes.ask(lambda node: _read(node, first, upto, contracts))  # noqa: B023
            except _TooMuch:
                self.span = max(1, (upto - first + 1) // 2)
                continue
            if upto - first + 1 == self.span:
                self.span = min(LARGEST_SPAN, self.span + max(1, self.span // 4))
            first = upto + 1
        return found


async def _read(node: EvmNode, first: int, last: int, contracts: Sequence[str]) -> list[TokenTransfer]:
    """One range from one node. Raises _TooMuch, NodeFailure."""
    question = {
        "fromBlock": hex(first),
        "toBlock": hex(last),
        "address": list(contracts),
        "topics": [TRANSFER_TOPIC],
    }
    # A node that does not have the last blocks yet says nothing of it: it has just no logs of them.
    final = await node.block_ref(Finality.FINAL)
    if final.number < last:
        raise NodeFailure("behind", f"{node.name} is at final block {final.number}, logs up to {last} are wanted")
    try:
        logs = await node.call("eth_getLogs", question)
    except NodeFailure as failure:
        if not _is_too_much(failure):
            raise
        if first < last:
            raise _TooMuch(failure) from failure
        return await _by_receipts(node, first, frozenset(contracts))
    with reading(node, f"the logs of blocks {first} to {last}"):
        asked = frozenset(contracts)
        return [one for log in sequence(logs, "logs") if (one := _transfer(log, first, last, asked)) is not None]


async def _by_receipts(node: EvmNode, number: int, contracts: frozenset[str]) -> list[TokenTransfer]:
    """Where one block alone has more logs than the node gives: its receipts have no such limit."""
    content = await read_block(node, number, Finality.FINAL)
    if content is None:
        raise NodeFailure("behind", f"{node.name} does not have final block {number}")
    return [
        TokenTransfer(number, result.txid, replace(effect, place=None))
        for result in content.transactions
        for effect in result.effects
        if effect.contract in contracts
    ]


def _transfer(log: Any, first: int, last: int, contracts: frozenset[str]) -> TokenTransfer | None:
    """Raises MalformedAnswer, also for a log that was not asked for."""
    number = quantity(field(log, "blockNumber"), "blockNumber", MAX_HEIGHT)
    if field(log, "removed"):
        return None
    effect = log_transfer(log, None)  # its logIndex counts over the block
    if effect is None:
        return None
    if not first <= number <= last:
        raise MalformedAnswer("blockNumber", number, f"between {first} and {last}")
    if effect.contract not in contracts:
        raise MalformedAnswer("address", effect.contract, "of a contract that was asked for")
    return TokenTransfer(number, hash_text(field(log, "transactionHash"), "transactionHash"), effect)


def _is_too_much(failure: NodeFailure) -> bool:
    if isinstance(failure, RpcError):
        return failure.rpc_code == LIMIT_EXCEEDED or _TOO_MUCH.search(failure.reason) is not None
    return failure.code in ("http 413", "timeout", TOO_LARGE)
