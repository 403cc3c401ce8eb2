"""Sending through several nodes. No answer means that the payment will not happen."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from pipeline.chains.errors import LyingNode, WrongNetwork
from pipeline.chains.http import Node, NodeFailure
from pipeline.chains.nodes import Nodes
from pipeline.chains.provider import BroadcastOutcome, BroadcastReply, SignedTransaction

N = TypeVar("N", bound=Node)

_WEIGHT = (BroadcastOutcome.REFUSED, BroadcastOutcome.KNOWN, BroadcastOutcome.UNKNOWN, BroadcastOutcome.ACCEPTED)
"""Of several nodes' answers the last of these counts: a refusal does not undo another node's silence."""


async def broadcast(
    nodes: Nodes[N],
    signed: SignedTransaction,
    send: Callable[[N, SignedTransaction], Awaitable[BroadcastReply]],
    repeat: int = 0,
) -> BroadcastReply:
    """Send to one node; to the next one only while the outcome is UNKNOWN. Each node gets the bytes once. Every repeat
    begins with another node, because one that takes them and hands them on to nobody looks like any other.

    Raises LyingNode when a node answers with another txid.
    """
    replies: list[BroadcastReply] = []
    for node in nodes.in_order(repeat):
        try:
            await nodes.verify(node)
            replies.append(await send(node, signed))
            nodes.succeeded(node)
        except NodeFailure as failure:
            nodes.failed(node, failure)
            replies.append(BroadcastReply(BroadcastOutcome.UNKNOWN, failure.code, str(failure)))
        except WrongNetwork as error:
            replies.append(BroadcastReply(BroadcastOutcome.UNKNOWN, "wrong network", str(error)))
        except LyingNode as lie:
            nodes.distrust(node, lie)
            raise
        if replies[-1].outcome is not BroadcastOutcome.UNKNOWN:
            break
    return _strongest(replies)


def _strongest(replies: Iterable[BroadcastReply]) -> BroadcastReply:
    return max(replies, key=lambda reply: _WEIGHT.index(reply.outcome))
