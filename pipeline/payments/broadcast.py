"""Signed bytes on their way to a node: the first time by who had them signed, later by who follows them."""

from loguru import logger

from pipeline.chains.errors import ChainError, InconsistentNode
from pipeline.chains.provider import Provider
from pipeline.chains.values import BroadcastOutcome, SignedTransaction

_INCONSISTENT = "inconsistent node"


async def send_bytes(provider: Provider, signed: SignedTransaction, repeat: int = 0) -> str:
    """Send the bytes, sent ``repeat`` times before, and put the answer into one line. Whatever it is, it proves
    nothing."""
    try:
        reply = await provider.broadcast(signed, repeat)
    except InconsistentNode as contradiction:
        logger.error("tx {}: {}", short(signed.txid), contradiction)
        return f"{_INCONSISTENT}: {contradiction}"
    except ChainError as error:
        return f"{type(error).__name__}: {error}"
    return f"{reply.outcome}: {reply.code} {reply.message}".strip()


def in_short(reply: str) -> str:
    """A reply for a log line: without the node's words where it accepted, or where a line of its own has them."""
    outcome = reply.partition(":")[0]
    return outcome if outcome in (BroadcastOutcome.ACCEPTED, _INCONSISTENT) else reply


def short(txid: str) -> str:
    """``ab12cd34…``, enough to find a transaction by."""
    return f"{txid.removeprefix('0x')[:8]}…"
