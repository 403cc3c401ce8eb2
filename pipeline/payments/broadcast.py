"""Signed bytes on their way to a node: the first time by who had them signed, later by who follows them."""

from loguru import logger

from pipeline.chains.errors import ChainError, InconsistentNode
from pipeline.chains.provider import Provider
from pipeline.chains.values import SignedTransaction


async def send_bytes(provider: Provider, signed: SignedTransaction, repeat: int = 0) -> str:
    """Send the bytes, sent ``repeat`` times before, and put the answer into one line. Whatever it is, it proves
    nothing."""
    try:
        reply = await provider.broadcast(signed, repeat)
    except InconsistentNode as contradiction:
        logger.error("tx {}: {}", short(signed.txid), contradiction)
        return f"inconsistent node: {contradiction}"
    except ChainError as error:
        return f"{type(error).__name__}: {error}"
    return f"{reply.outcome}: {reply.code} {reply.message}".strip()


def short(txid: str) -> str:
    """``ab12cd34…``, enough to find a transaction by."""
    return f"{txid.removeprefix('0x')[:8]}…"
