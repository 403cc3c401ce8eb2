"""What used a nonce of a sender (EVM): a transaction of its own, or a delegation (EIP-7702) in somebody else's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.chains.values import BlockContent, Payment, TransactionResult
from pipeline.payments.effect import did_all

UNEXPLAINED = "unexplained"
"""In place of a txid: the final blocks do not show what it was, and an operator has released it (release_sender)."""


@dataclass(frozen=True, slots=True)
class NonceUse:
    """One nonce, and what used it in a final block."""

    sender: str
    nonce: int
    result: TransactionResult | None
    """The transaction; None: the blocks do not show it, and an operator has released it."""
    delegate: str | None = None
    """The contract whose code the sender takes for its own, where the transaction is somebody else's and carried the
    sender's delegation."""

    @property
    def txid(self) -> str:
        """Of the transaction, or ``UNEXPLAINED``."""
        return UNEXPLAINED if self.result is None else self.result.txid

    def did(self, payments: Sequence[Payment]) -> bool:
        """Whether it made all these payments of the sender."""
        return self._own is not None and did_all(payments, self._own)

    def did_only(self, payments: Sequence[Payment]) -> bool:
        """Whether it made all these payments, and moved nothing else."""
        return self.did(payments) and self._own is not None and len(self._own.effects) == len(payments)

    def __str__(self) -> str:
        """``nonce 3 was used by tx 0x… in final block 17``."""
        if self.result is None:
            return f"nonce {self.nonce} was used by what no final block shows, and an operator released its sender"
        where = f"tx {self.result.txid} in final block {self.result.block.number}"
        if self.delegate is None:
            return f"nonce {self.nonce} was used by {where}"
        return (
            f"nonce {self.nonce} was used by an EIP-7702 delegation that its key signed: contract {self.delegate} acts "
            f"as {self.sender} since {where}, sent by {self.result.sender}"
        )

    @property
    def _own(self) -> TransactionResult | None:
        """The transaction, if the sender sent it."""
        return self.result if self.delegate is None else None


def uses_in(content: BlockContent, sender: str) -> Iterator[NonceUse]:
    """All in a block that used a nonce of a sender, in its order. Delegations only may have (``Authorization``)."""
    for result in content.transactions:
        if result.sender == sender and result.nonce is not None:
            yield NonceUse(sender, result.nonce, result)
        for one in result.authorizations:
            if one.authority == sender:
                yield NonceUse(sender, one.nonce, result, one.delegate)
