"""Sending through several nodes. No answer means that the payment will not happen."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from pipeline.chains.errors import InconsistentNode, WrongNetwork
from pipeline.chains.rpc.http import Node, NodeFailure
from pipeline.chains.rpc.nodes import Nodes
from pipeline.chains.values import BroadcastOutcome, BroadcastReply, SignedTransaction

N = TypeVar("N", bound=Node)

_WEIGHT = (
    BroadcastOutcome.OUTDATED,
    BroadcastOutcome.REFUSED,
    BroadcastOutcome.KNOWN,
    BroadcastOutcome.UNKNOWN,
    BroadcastOutcome.ACCEPTED,
)
"""Of several nodes' answers the last of these counts: a refusal does not undo another node's silence."""


async def broadcast(
    nodes: Nodes[N],
    signed: SignedTransaction,
    send: Callable[[N, SignedTransaction], Awaitable[BroadcastReply]],
    repeat: int = 0,
) -> BroadcastReply:
    """Send to one node; to the next one only while the outcome is UNKNOWN. Each node gets the bytes once. Every repeat
    begins with another node, because one that takes them and relays them to nobody answers like any other.

    A node that answers with another txid is left for the next one, too: it may have thrown the bytes away. Raises that
    InconsistentNode where no other node took or refused them.
    """
    replies: list[BroadcastReply] = []
    contradictions: list[InconsistentNode] = []
    for node in nodes.in_order(repeat):
        try:
            replies.append(await nodes.try_one(node, lambda node: send(node, signed)))
        except NodeFailure as failure:
            replies.append(BroadcastReply(BroadcastOutcome.UNKNOWN, failure.code, str(failure)))
        except WrongNetwork as error:
            replies.append(BroadcastReply(BroadcastOutcome.UNKNOWN, "wrong network", str(error)))
        except InconsistentNode as contradiction:
            contradictions.append(contradiction)
            replies.append(BroadcastReply(BroadcastOutcome.UNKNOWN, "another txid", str(contradiction)))
        if replies[-1].outcome is not BroadcastOutcome.UNKNOWN:
            return _strongest(replies)
    if contradictions:
        raise contradictions[0]
    return _strongest(replies)


def _strongest(replies: Iterable[BroadcastReply]) -> BroadcastReply:
    return max(replies, key=lambda reply: _WEIGHT.index(reply.outcome))
