"""Every payment on the canonical chain, read from its receipts: the judge of "paid exactly once"."""

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.devnet.blocks import Block
from pipeline.devnet.encoding import PREFIX, base58_address, keccak256

TRANSFER_TOPIC = keccak256(b"Transfer(address,address,uint256)")


def payments(blocks: Iterable[Block]) -> Iterator[dict[str, Any]]:
    """Successful transfers in chain order; ``contract`` is null for TRX. Amounts are raw units as strings."""
    for block in blocks:
        for tx, receipt in zip(block.transactions, block.receipts, strict=True):
            if not receipt.success:
                continue
            where = {"txid": tx.id, "block": block.number, "timestamp": block.timestamp}
            if tx.kind == "TransferContract":
                yield where | _payment(None, tx.owner, bytes(tx.contract.to_address), tx.contract.amount)
            elif tx.kind == "TriggerSmartContract" and tx.contract.call_value:
                yield where | _payment(None, tx.owner, receipt.contract, tx.contract.call_value)
            for log in receipt.logs:
                if len(log.topics) == 3 and log.topics[0] == TRANSFER_TOPIC and len(log.data) == 32:
                    sender, receiver = PREFIX + log.topics[1][12:], PREFIX + log.topics[2][12:]
                    yield where | _payment(log.address, sender, receiver, int.from_bytes(log.data, "big"))


def _payment(contract: bytes | None, sender: bytes, receiver: bytes, amount: int) -> dict[str, Any]:
    return {
        "contract": base58_address(contract) if contract else None,
        "from": base58_address(sender),
        "to": base58_address(receiver),
        "amount": str(amount),
    }
