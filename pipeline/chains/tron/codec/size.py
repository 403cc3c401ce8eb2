"""How many bytes a payment uses on TRON, and the most that they burn."""

from pipeline.chains.tron.codec.transaction import SIGNATURE_BYTES, TronTransfer, encode, join
from pipeline.chains.values import Payment

RESULT_BYTES = 64
"""Added by the chain to a transaction's size for the result that it will carry."""
MOST_SUN_PER_BYTE = 1_000
MOST_ACTIVATION = 1_100_000
"""Sun: what the main network charges (getTransactionFee; getCreateNewAccountFeeInSystemContract and
getCreateAccountFee). For a bound that no node's word changes; were the chain to vote for more, fees of bandwidth would
be counted too low."""


def transaction_bytes(payment: Payment, fee_limit: int) -> int:
    """The bandwidth that a payment uses, before it is built."""
    # Heights and times of the real one have as many bytes as these.
    return size_of(
        encode(
            TronTransfer(
                sender=payment.sender,
                receiver=payment.receiver,
                amount=payment.amount,
                contract=payment.asset.contract,
                ref_block_bytes=bytes(2),
                ref_block_hash=bytes(8),
                expiration_ms=2**41,
                timestamp_ms=2**41,
                fee_limit=fee_limit,
            )
        )
    )


def size_of(raw: bytes) -> int:
    """The bandwidth that ``raw_data`` bytes use: their signed form and 64 for the result."""
    return len(join(raw, bytes(SIGNATURE_BYTES))) + RESULT_BYTES


def most_burned(raw: bytes, transfer: TronTransfer) -> int:
    """The most sun that ``raw_data`` bytes can burn: the fee limit, every byte paid for, and a new account."""
    activation = MOST_ACTIVATION if transfer.contract is None else 0
    return transfer.fee_limit + size_of(raw) * MOST_SUN_PER_BYTE + activation
