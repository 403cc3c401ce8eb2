"""Sending, and what a node's answer to it means. No answer means that the payment will not happen."""

from collections.abc import Iterable

from pipeline.chains.errors import LyingNode, WrongNetwork
from pipeline.chains.http import NodeFailure
from pipeline.chains.nodes import Nodes
from pipeline.chains.provider import BroadcastOutcome, BroadcastReply, Finality, SignedTransaction
from pipeline.chains.tron.node import TronNode, decoded_message, reading

_OUTCOMES = {
    "SUCCESS": BroadcastOutcome.ACCEPTED,
    "DUP_TRANSACTION_ERROR": BroadcastOutcome.KNOWN,
    "SIGERROR": BroadcastOutcome.REFUSED,
    "CONTRACT_VALIDATE_ERROR": BroadcastOutcome.REFUSED,
    "CONTRACT_EXE_ERROR": BroadcastOutcome.REFUSED,
    "BANDWITH_ERROR": BroadcastOutcome.REFUSED,
    "TAPOS_ERROR": BroadcastOutcome.REFUSED,
    "TOO_BIG_TRANSACTION_ERROR": BroadcastOutcome.REFUSED,
    "TRANSACTION_EXPIRATION_ERROR": BroadcastOutcome.REFUSED,
}
"""SERVER_BUSY, NO_CONNECTION, NOT_ENOUGH_EFFECTIVE_CONNECTION, BLOCK_UNSOLIDIFIED, OTHER_ERROR and any
code not listed say nothing about the transaction: UNKNOWN."""

_WEIGHT = (BroadcastOutcome.REFUSED, BroadcastOutcome.KNOWN, BroadcastOutcome.UNKNOWN, BroadcastOutcome.ACCEPTED)
"""Of several nodes' answers the last of these counts: a refusal does not undo another node's silence."""


async def broadcast(nodes: Nodes[TronNode], signed: SignedTransaction, repeat: int) -> BroadcastReply:
    """Send to one node; to the next one only while the outcome is UNKNOWN. Each node gets the bytes once. Every repeat
    begins with another node, because one that takes them and hands them on to nobody looks like any other.

    Raises LyingNode when a node answers with another txid.
    """
    replies: list[BroadcastReply] = []
    for node in nodes.in_order(repeat):
        try:
            await nodes.verify(node)
            replies.append(await _send(node, signed))
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


async def _send(node: TronNode, signed: SignedTransaction) -> BroadcastReply:
    answer = await node.call("broadcasthex", Finality.HEAD, {"transaction": signed.raw.hex()})
    with reading(node, "a broadcast"):
        code, echoed = str(answer.get("code", "SUCCESS" if answer.get("result") else "OTHER_ERROR")), answer.get("txid")
        message = decoded_message(answer.get("message"))
    if echoed is not None and str(echoed).lower() != signed.txid:
        raise LyingNode(f"node {node.name} answered the broadcast of {signed.txid} with txid {echoed}")
    outcome = _OUTCOMES.get(code, BroadcastOutcome.UNKNOWN)
    if outcome is BroadcastOutcome.ACCEPTED and not answer.get("result"):
        outcome = BroadcastOutcome.UNKNOWN
    return BroadcastReply(outcome, code, message)


def _strongest(replies: Iterable[BroadcastReply]) -> BroadcastReply:
    return max(replies, key=lambda reply: _WEIGHT.index(reply.outcome))
