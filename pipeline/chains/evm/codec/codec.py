"""Payments to EVM bytes and back."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.chains.errors import BadSignature, InvalidAddress, UndecodableTransaction
from pipeline.chains.evm.codec import address, transaction
from pipeline.chains.evm.codec.transaction import EvmTransfer, GasPrice
from pipeline.chains.fees import EvmParameters, Parameters
from pipeline.chains.values import Asset, Cost, Family, Payment, SignedTransaction, UnsignedTransaction


class EvmCodec:
    """Implements :class:`pipeline.chains.codec.NumberedCodec`."""

    family = Family.EVM

    def __init__(self, chain_id: int, assets: Sequence[Asset] = ()) -> None:
        """``assets`` are what :meth:`decode` knows by name; the native coin among them gives the coin its symbol.

        Raises ValueError for a chain id that is not above 0, InvalidAddress for an asset's contract.
        """
        if chain_id <= 0:
            raise ValueError(f"the chain id is {chain_id}: it must be a number above 0")
        self._chain_id = chain_id
        self._assets = {one.contract: one for one in map(_canonical, assets)}
        self._assets.setdefault(None, Asset("ETH", 18))

    @property
    def coin(self) -> Asset:
        """The native coin."""
        return self._assets[None]

    def validate_address(self, address_text: str) -> str:
        return address.validate(address_text)

    def build(self, payment: Payment, parameters: Parameters) -> UnsignedTransaction:
        """Also raises InvalidAddress for an address that is not in its checksummed form."""
        if not isinstance(parameters, EvmParameters):
            raise ValueError(f"{type(parameters).__name__} given: an EVM transaction is built from EvmParameters")  # noqa: TRY004
        checked(payment)
        transfer = EvmTransfer(
            chain_id=self._chain_id,
            nonce=parameters.nonce,
            receiver=payment.receiver,
            amount=payment.amount,
            contract=payment.asset.contract,
            gas_limit=parameters.gas_limit,
            fees=GasPrice(parameters.max_fee, parameters.tip),
        )
        return _unsigned(payment, transfer, parameters.ref_block, parameters.l1_fee)

    def renumber(self, unsigned: UnsignedTransaction, nonce: int) -> UnsignedTransaction:
        transfer = replace(transaction.decode(unsigned.raw), nonce=nonce)
        return _unsigned(unsigned.payment, transfer, unsigned.ref_block, unsigned.fee_cap - transfer.fee_cap)

    def nonce_of(self, raw: bytes) -> int:
        return _read(raw)[0].nonce

    def attach(self, unsigned: UnsignedTransaction, signature: bytes) -> SignedTransaction:
        if len(signature) == 65 and signature[64] in (27, 28):
            signature = signature[:64] + bytes([signature[64] - 27])
        signer, sender = transaction.recover(unsigned.raw, signature), unsigned.payment.sender
        if signer != sender:
            raise BadSignature(f"the signature is {signer}'s, the payment is from {sender}: wrong derivation index")
        raw = transaction.join(unsigned.raw, signature)
        return SignedTransaction(
            txid=transaction.txid(raw),
            raw=raw,
            sender=sender,
            fee_cap=unsigned.fee_cap,
            ref_block=unsigned.ref_block,
            nonce=unsigned.nonce,
        )

    def decode(self, raw: bytes, sender: str | None = None) -> Payment:
        found, signer = _read(raw)
        if found.chain_id != self._chain_id:
            raise UndecodableTransaction(f"it is for chain id {found.chain_id}, this chain's is {self._chain_id}")
        if signer is None and sender is None:
            raise UndecodableTransaction("unsigned EVM bytes do not name their sender: say who is to sign them")
        if signer is not None and sender not in (None, signer):
            raise UndecodableTransaction(f"it is signed by {signer}, not by {sender}")
        asset = self._assets.get(found.contract) or Asset("token", 0, found.contract)
        return Payment(signer or address.validate(sender or ""), found.receiver, asset, found.amount)

    def cost_of(self, raw: bytes) -> Cost:
        found, _ = _read(raw)
        return Cost(found.fee_cap, found.gas_limit)

    def txid_of(self, raw: bytes) -> str:
        transaction.split(raw)
        return transaction.txid(raw)


def checked(payment: Payment) -> Payment:
    """Raises InvalidAddress also for a form that is not checksummed, ValueError for an amount that is not above 0."""
    for one in (payment.sender, payment.receiver, payment.asset.contract):
        if one is not None and address.validate(one) != one:
            # The effects found on the chain are compared as text.
            raise InvalidAddress(f"address {one} is not in its checksummed form {address.validate(one)}: use that")
    if payment.amount <= 0:
        raise ValueError(f"payment of {payment.amount} raw units: it must be above 0")
    return payment


def _unsigned(payment: Payment, transfer: EvmTransfer, ref_block: int | None, l1_fee: int) -> UnsignedTransaction:
    raw = transaction.encode(transfer)
    return UnsignedTransaction(
        payments=(payment,),
        raw=raw,
        digests=(transaction.digest(raw),),
        fee_cap=transfer.fee_cap + l1_fee,
        ref_block=ref_block,
        nonce=transfer.nonce,
    )


def _read(raw: bytes) -> tuple[EvmTransfer, str | None]:
    """What unsigned or signed bytes say, and who signed them. Raises UndecodableTransaction."""
    try:
        return transaction.decode(raw), None
    except UndecodableTransaction as unsigned:
        try:
            body, signature = transaction.split(raw)
            return transaction.decode(body), transaction.recover(body, signature)
        except (UndecodableTransaction, BadSignature) as signed:
            raise UndecodableTransaction(f"neither unsigned ({unsigned}) nor signed ({signed})") from signed


def _canonical(asset: Asset) -> Asset:
    return asset if asset.contract is None else replace(asset, contract=address.validate(asset.contract))
