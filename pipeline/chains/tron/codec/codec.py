"""Payments to TRON bytes and back."""

from collections.abc import Sequence
from datetime import datetime

from pipeline.chains.errors import BadSignature, UndecodableTransaction
from pipeline.chains.fees import Parameters, TronParameters
from pipeline.chains.tron.codec import address, transaction
from pipeline.chains.tron.codec.size import MOST_ACTIVATION, MOST_SUN_PER_BYTE, most_burned, size_of
from pipeline.chains.tron.codec.transaction import TronTransfer
from pipeline.chains.values import Asset, Cost, Family, Payment, SignedTransaction, UnsignedTransaction
from pipeline.curve import PublicKey


class TronCodec:
    """Implements :class:`pipeline.chains.codec.Codec`."""

    family = Family.TRON

    def __init__(self, assets: Sequence[Asset] = ()) -> None:
        """``assets`` are what :meth:`decode` knows by name; the native coin among them gives TRX its symbol."""
        self._assets = {one.contract: one for one in assets}
        self._assets.setdefault(None, Asset("TRX", 6))

    def validate_address(self, address_text: str) -> str:
        return address.validate(address_text)

    def build(self, payment: Payment, parameters: Parameters) -> UnsignedTransaction:
        if not isinstance(parameters, TronParameters):
            raise ValueError(f"{type(parameters).__name__} given: a TRON transaction is built from TronParameters")  # noqa: TRY004
        if payment.amount <= 0:
            raise ValueError(f"payment of {payment.amount} raw units: it must be above 0")
        ref_bytes, ref_hash = transaction.ref_block(parameters.ref_block_id)
        raw = transaction.encode(
            TronTransfer(
                sender=payment.sender,
                receiver=payment.receiver,
                amount=payment.amount,
                contract=payment.asset.contract,
                ref_block_bytes=ref_bytes,
                ref_block_hash=ref_hash,
                expiration_ms=transaction.to_milliseconds(parameters.expiration),
                timestamp_ms=transaction.to_milliseconds(parameters.timestamp),
                fee_limit=parameters.fee_limit,
            )
        )
        return UnsignedTransaction(
            payments=(payment,),
            raw=raw,
            digests=(transaction.digest(raw),),
            fee_cap=_fee_cap(payment, parameters, raw),
            expiration=_expiration(raw),
            ref_block=parameters.ref_block,
        )

    def attach(self, unsigned: UnsignedTransaction, signature: bytes) -> SignedTransaction:
        sender = transaction.decode(unsigned.raw).sender
        signer = _signer(transaction.digest(unsigned.raw), signature)
        if signer != sender:
            raise BadSignature(f"the signature is {signer}'s, the payment is from {sender}: wrong derivation index")
        return SignedTransaction(
            txid=transaction.txid(unsigned.raw),
            raw=transaction.join(unsigned.raw, signature),
            sender=sender,
            fee_cap=unsigned.fee_cap,
            expiration=unsigned.expiration,
            ref_block=unsigned.ref_block,
        )

    def decode(self, raw: bytes, sender: str | None = None) -> Payment:
        try:
            found = transaction.decode(raw)
        except UndecodableTransaction as unsigned:
            try:
                found = transaction.decode(transaction.split(raw)[0])
            except UndecodableTransaction as signed:
                raise UndecodableTransaction(f"neither unsigned ({unsigned}) nor signed ({signed})") from signed
        if sender is not None and found.sender != sender:
            raise UndecodableTransaction(f"it is from {found.sender}, not from {sender}")
        asset = self._assets.get(found.contract) or Asset("token", 0, found.contract)
        return Payment(found.sender, found.receiver, asset, found.amount)

    def cost_of(self, raw: bytes) -> Cost:
        try:
            found = transaction.decode(raw)
        except UndecodableTransaction:
            raw, _ = transaction.split(raw)
            found = transaction.decode(raw)
        return Cost(most_burned(raw, found))

    def txid_of(self, raw: bytes) -> str:
        return transaction.txid(transaction.split(raw)[0])


def _fee_cap(payment: Payment, parameters: TronParameters, raw: bytes) -> int:
    byte_price = MOST_SUN_PER_BYTE if parameters.byte_price is None else parameters.byte_price
    activation = MOST_ACTIVATION if parameters.activation is None else parameters.activation
    return parameters.fee_limit + size_of(raw) * byte_price + (activation if payment.asset.is_native else 0)


def _expiration(raw: bytes) -> datetime:
    """What stands in the bytes, and not what they were built from."""
    return transaction.from_milliseconds(transaction.decode(raw).expiration_ms)


def _signer(digest: bytes, signature: bytes) -> str:
    if len(signature) != transaction.SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {transaction.SIGNATURE_BYTES} bytes, this one {len(signature)}")
    recovery = signature[64] - 27 if signature[64] >= 27 else signature[64]
    try:
        public = PublicKey.recover(digest, signature[:64] + bytes([recovery]))
    except ValueError as error:
        raise BadSignature(f"the signature recovers to no key: {error}") from error
    return address.from_public_key(public)
