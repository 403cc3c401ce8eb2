"""What a TRON node's answer to a broadcast means."""

from pipeline.chains.errors import InconsistentNode
from pipeline.chains.rpc.answers import bare_hash, field, text
from pipeline.chains.tron.rpc.node import TronNode, decoded_message, reading
from pipeline.chains.values import BroadcastOutcome, BroadcastReply, Finality, SignedTransaction

_OUTCOMES = {
    "SUCCESS": BroadcastOutcome.ACCEPTED,
    "DUP_TRANSACTION_ERROR": BroadcastOutcome.KNOWN,
    "SIGERROR": BroadcastOutcome.REFUSED,
    "CONTRACT_VALIDATE_ERROR": BroadcastOutcome.REFUSED,
    "CONTRACT_EXE_ERROR": BroadcastOutcome.REFUSED,
    "BANDWITH_ERROR": BroadcastOutcome.REFUSED,
    "TAPOS_ERROR": BroadcastOutcome.OUTDATED,
    "TOO_BIG_TRANSACTION_ERROR": BroadcastOutcome.REFUSED,
    "TRANSACTION_EXPIRATION_ERROR": BroadcastOutcome.OUTDATED,
}
"""SERVER_BUSY, NO_CONNECTION, NOT_ENOUGH_EFFECTIVE_CONNECTION, BLOCK_UNSOLIDIFIED, OTHER_ERROR and any
code not listed say nothing about the transaction: UNKNOWN."""


async def send(node: TronNode, signed: SignedTransaction) -> BroadcastReply:
    """One attempt at one node. Raises NodeFailure, and InconsistentNode when it answers with another txid."""
    answer = await node.call("broadcasthex", Finality.HEAD, {"transaction": signed.raw.hex()})
    with reading(node, "a broadcast"):
        accepted, echoed = field(answer, "result") is True, field(answer, "txid")
        code = text(field(answer, "code"), "code") or ("SUCCESS" if accepted else "OTHER_ERROR")
        message = decoded_message(field(answer, "message"))
        found = None if echoed is None else bare_hash(echoed, "txid")
    if found is not None and found != signed.txid:
        raise InconsistentNode(f"node {node.name} answered the broadcast of {signed.txid} with txid {found}")
    outcome = _OUTCOMES.get(code, BroadcastOutcome.UNKNOWN)
    if outcome is BroadcastOutcome.ACCEPTED and not accepted:
        outcome = BroadcastOutcome.UNKNOWN
    return BroadcastReply(outcome, code, message)
