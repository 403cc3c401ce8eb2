"""What a TRON node's answer to a broadcast means."""

from pipeline.chains.errors import LyingNode
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


async def send(node: TronNode, signed: SignedTransaction) -> BroadcastReply:
    """One attempt at one node. Raises NodeFailure, and LyingNode when it answers with another txid."""
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
