"""What an EVM node's answer to a broadcast means. Nodes agree on no codes, so their words are read."""

from pipeline.chains.errors import InconsistentNode
from pipeline.chains.evm.rpc.node import EvmNode, RpcError, hash_text, reading
from pipeline.chains.rpc.answers import field
from pipeline.chains.values import BroadcastOutcome, BroadcastReply, SignedTransaction

KNOWN = "already known"
IN_A_BLOCK = "in a block"
NONCE_TOO_LOW = "nonce too low"
"""Some transaction took the nonce, perhaps this very one: hashes have to be compared."""
UNDERPRICED = "replacement underpriced"
FEE_TOO_LOW = "fee too low"
NO_FUNDS = "insufficient funds"

_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        KNOWN,
        (
            "already known", "already imported", "known transaction", "alreadyknown", "already in the mempool",
            "transaction already in", "already exists", "tx already",
        ),
    ),
    (UNDERPRICED, ("replacement transaction underpriced", "replacement underpriced", "could not replace")),
    (
        FEE_TOO_LOW,
        (
            "less than block base fee", "transaction underpriced", "fee too low", "feetoolow", "gas price too low",
            "below base fee", "max fee per gas less", "less than the minimum", "tip is too low", "gas tip cap",
        ),
    ),
    (
        NONCE_TOO_LOW,
        ("nonce too low", "nonce is too low", "oldnonce", "nonce too small", "nonce has already been used"),
    ),
    ("nonce too high", ("nonce too high", "nonce is too high", "nonce gap", "noncegap")),
    (NO_FUNDS, ("insufficient funds", "insufficient balance", "balance too low", "insufficientfunds")),
    ("gas limit", ("intrinsic gas", "exceeds block gas limit", "gas limit exceeded", "gaslimit", "gas too low")),
    ("chain id", ("invalid chain id", "invalid sender", "chain id", "chainid", "replay-protected")),
    ("malformed", ("failed to decode", "invalid transaction", "rlp:", "decode", "oversized data")),
)  # fmt: skip
"""In this order: "replacement transaction underpriced" holds the words of a lesser thing. Anything else, a full
pool among it, says nothing about the transaction: UNKNOWN."""


async def send(node: EvmNode, signed: SignedTransaction) -> BroadcastReply:
    """One attempt at one node. Raises NodeFailure, and InconsistentNode when it answers with another hash."""
    try:
        answer = await node.call("eth_sendRawTransaction", "0x" + signed.raw.hex())
    except RpcError as error:
        reply = _refusal(error)
        if reply.code != NONCE_TOO_LOW:
            return reply
        # Its own nonce is too low for a transaction that is in a block already.
        receipt = await node.call("eth_getTransactionReceipt", signed.txid)
        with reading(node, "eth_getTransactionReceipt"):
            found = None if receipt is None else hash_text(field(receipt, "transactionHash"), "transactionHash")
        return reply if found != signed.txid else BroadcastReply(BroadcastOutcome.KNOWN, IN_A_BLOCK, error.reason)
    with reading(node, "eth_sendRawTransaction"):
        echoed = hash_text(answer, "the hash")
    if echoed != signed.txid:
        raise InconsistentNode(f"node {node.name} answered the broadcast of {signed.txid} with hash {echoed}")
    return BroadcastReply(BroadcastOutcome.ACCEPTED, "OK")


def _refusal(error: RpcError) -> BroadcastReply:
    said = error.reason.lower()
    code = next((code for code, words in _WORDS if any(word in said for word in words)), None)
    if code is None:
        return BroadcastReply(BroadcastOutcome.UNKNOWN, error.code, error.reason)
    outcome = BroadcastOutcome.KNOWN if code == KNOWN else BroadcastOutcome.REFUSED
    return BroadcastReply(outcome, code, error.reason)
