"""What a node has to offer that not every node does, asked when a chain is added and by doctor."""

from collections.abc import Sequence
from typing import Any

from pipeline.chains.evm.codec import address
from pipeline.chains.evm.rpc.node import EvmNode, RpcError, hash_text, reading, wanted
from pipeline.chains.values import MissingCapability

_FINALIZED = (
    "payments are settled, and flags raised, by final blocks only: use a node that follows the network's finality"
)


async def read_lacks(node: EvmNode) -> list[MissingCapability]:
    """What this node does not offer. Raises NodeFailure when it answers nothing."""
    latest = wanted(await node.call("eth_getBlockByNumber", "latest", False))
    with reading(node, "its newest block"):
        block = {"blockHash": hash_text(latest["hash"])}
    finalized, counted, pending, held, history = await node.batch(
        [
            ("eth_getBlockByNumber", ["finalized", False]),
            ("eth_getTransactionCount", [address.ZERO, "finalized"]),
            ("eth_getTransactionCount", [address.ZERO, "pending"]),
            ("eth_getBalance", [address.ZERO, block]),
            ("eth_feeHistory", ["0x1", "latest", [50]]),
        ]
    )
    by_hash = "balances are read at one block by its hash (EIP-1898): use a newer node"
    fees = "what gas costs is told by it: use another node"
    pool = (
        "transactions of ours that are in its pool and in no block are not seen: a database that lost its last commits "
        "may pay once more. Works; use another node if you can"
    )
    asked: Sequence[tuple[str, Any, str, bool]] = (
        ("the block tag finalized", finalized, _FINALIZED, True),
        ("the block tag finalized for counts of transactions", counted, _FINALIZED, True),
        ("the block tag pending", pending, pool, False),
        ("questions about a block by its hash", held, by_hash, True),
        ("eth_feeHistory", history, fees, True),
    )
    return [
        MissingCapability(what, "null" if answer is None else answer.reason, why, is_essential=is_essential)
        for what, answer, why, is_essential in asked
        if answer is None or isinstance(answer, RpcError)
    ]
