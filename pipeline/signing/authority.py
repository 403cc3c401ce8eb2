"""Whom a payment may come from and go to, checked on the decoded bytes immediately before they are signed.

Nothing here believes the database: whoever can write it can make a job or a payment row say anything, and must
still not be able to take the money. So the receiver of gas is derived again from the mnemonic, the receiver of a
consolidation is the pinned treasury, and the bytes are read back instead of trusting what they were built from.
"""

from dataclasses import dataclass

from pipeline.chains.kinds import GAP_AMOUNT, Kind
from pipeline.chains.values import Payment
from pipeline.keys.derivation import FIRST_USER_INDEX, GAS_INDEX
from pipeline.signing.errors import SigningRefused


@dataclass(frozen=True, slots=True)
class Authority:
    """What this process derived or was told itself, for one payment."""

    gas_address: str
    """Ours at index 0."""
    treasury_address: str
    """Pinned by FLAGPOST_TREASURY_<CHAIN>, else ours at index 1."""
    wallet_index: int | None
    """What the database says the wallet's derivation index is; None: not derived from our mnemonic."""
    wallet_address: str | None
    """Ours at ``wallet_index``, derived in this process."""


def check_wallet(address: str, authority: Authority) -> int:
    """The derivation index of a customer's wallet. Raises SigningRefused unless ``address`` is ours at its index, and
    the index a customer's: our own wallets (0 to 9) are neither filled nor emptied by anything that a row says."""
    if authority.wallet_index is None:
        raise SigningRefused(
            f"wallet {address} is not derived from our mnemonic: it never receives gas and is never signed for"
        )
    if authority.wallet_address != address:
        raise SigningRefused(
            f"wallet {address} is not derived from our mnemonic: index {authority.wallet_index} is "
            f"{authority.wallet_address or 'no key'}; correct wallets.address or wallets.derivation_index"
        )
    if authority.wallet_index < FIRST_USER_INDEX:
        raise SigningRefused(
            f"wallet {address} is one of our own (index {authority.wallet_index}, customers' begin at "
            f"{FIRST_USER_INDEX}): it is filled and emptied by hand"
        )
    return authority.wallet_index


def signing_index(kind: str, payment: Payment, authority: Authority) -> int:
    """The derivation index whose key may sign ``payment``, which was decoded from the very bytes to be signed.

    Raises SigningRefused.
    """
    if kind == Kind.GAS:
        return _gas(payment, authority)
    if kind == Kind.CONSOLIDATION:
        return _consolidation(payment, authority)
    if kind == Kind.GAP:
        return _gap(payment, authority)
    raise SigningRefused(f"no rule allows signing a {kind}")


def check_intent(decoded: Payment, intended: Payment) -> None:
    """Raises SigningRefused unless the bytes do exactly what the intent says."""
    wanted = (intended.sender, intended.receiver, intended.asset.contract, intended.amount)
    found = (decoded.sender, decoded.receiver, decoded.asset.contract, decoded.amount)
    if wanted != found:
        raise SigningRefused(
            f"the bytes would do {found}, the payment was to be {wanted} (sender, receiver, contract, raw amount)"
        )


def _gas(payment: Payment, authority: Authority) -> int:
    if not payment.asset.is_native:
        raise SigningRefused(f"gas is the native coin, not {payment.asset.symbol} ({payment.asset.contract})")
    if payment.sender != authority.gas_address:
        raise SigningRefused(f"gas is paid from {authority.gas_address} (index {GAS_INDEX}), not from {payment.sender}")
    check_wallet(payment.receiver, authority)
    return GAS_INDEX


def _consolidation(payment: Payment, authority: Authority) -> int:
    if payment.asset.is_native:
        raise SigningRefused("a consolidation moves tokens, not the native coin")
    if payment.receiver != authority.treasury_address:
        raise SigningRefused(
            f"a consolidation goes to the treasury {authority.treasury_address}, not to {payment.receiver}"
        )
    return check_wallet(payment.sender, authority)


def _gap(payment: Payment, authority: Authority) -> int:
    if not payment.asset.is_native or payment.amount != GAP_AMOUNT or payment.sender != payment.receiver:
        raise SigningRefused(f"a gap is filled by {GAP_AMOUNT} wei from a sender to itself, not by {payment}")
    return GAS_INDEX if payment.sender == authority.gas_address else check_wallet(payment.sender, authority)
