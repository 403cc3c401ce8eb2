"""The signer in this process, for one network: policy, ceilings, ledger and keys in one room.

    refused or signed before   the ledger knows it by its id: the same answer again, and the same bytes
    not allowed                written down, and only then answered as never signed
    above a ceiling            later
    else                       counted on the disk, and only then signed

Signatures are deterministic (RFC 6979): the same request gives the same bytes in any process with these keys.
"""

from collections.abc import Sequence

from loguru import logger

from pipeline.chains.codec import Codec, NumberedCodec
from pipeline.chains.errors import BadSignature, InvalidAddress, UndecodableTransaction
from pipeline.chains.families.codecs import codec_of
from pipeline.chains.values import Cost, Family, Payment, UnsignedTransaction
from pipeline.keys.derivation import GAS_INDEX, MAX_INDEX, TREASURY_INDEX
from pipeline.signing.authority import Authority, check_intent, signing_index
from pipeline.signing.errors import NeverSigned, SigningDeferred, SigningRefused
from pipeline.signing.keyring import Keyring
from pipeline.signing.ledger_entries import Entry, Refusal
from pipeline.signing.request import Answer, Never, RefusedLater, RefusedNever, Signed, SigningRequest
from pipeline.signing.rules import SigningRules

_Made = tuple[UnsignedTransaction, int]
"""What is signed, and the index of the key."""
_UNREACHED = Refusal(Never.UNREACHED, "an earlier one of its batch was refused")
_NONE_BEFORE = Refusal(Never.UNREACHED, "nothing is before it")


class LocalSigner:
    """Implements :class:`pipeline.signing.request.Signer`."""

    def __init__(self, keyring: Keyring, rules: SigningRules) -> None:
        self.rules = rules
        self._keyring = keyring
        network = rules.policy.network
        self._codec: Codec = codec_of(network.family, network.id)

    async def address(self, family: Family, index: int) -> str:
        return self._keyring.address(family, index)

    async def sign(self, requests: Sequence[SigningRequest]) -> list[Answer]:
        judged, trouble = self._judgements(requests)
        written = await self.rules.write([entry for entry, _ in judged], _UNREACHED) if judged else []
        answers: list[Answer] = []
        for request, (_, made), said in zip(requests, judged, written, strict=False):
            answers.append(self._answer(request, made, said))
            if said is None and isinstance(answers[-1], RefusedLater):
                trouble = f"an earlier one of its batch is not signed: {answers[-1].reason}"
                break
        return answers + [RefusedLater(one.request_id, trouble) for one in requests[len(answers) :]]

    async def withdraw(self, requests: Sequence[SigningRequest]) -> list[Answer]:
        answers: list[Answer] = []
        for request in requests:
            entry = Entry(request.request_id, request.content, refusal=Refusal(Never.TERMS, "it was withdrawn"))
            (written,) = await self.rules.write([entry], _NONE_BEFORE)
            answers.append(self._answer(request, None, written))
        return answers

    def _judgements(self, requests: Sequence[SigningRequest]) -> tuple[list[tuple[Entry, _Made | None]], str]:
        """Up to the first that cannot be judged, and why: nothing is written down of it, nor of what is behind it."""
        judged: list[tuple[Entry, _Made | None]] = []
        for request in requests:
            try:
                judged.append(self._judgement(request))
            except Exception as unforeseen:
                logger.opt(exception=unforeseen).error("request {} cannot be judged", request.request_id)
                return judged, f"a request cannot be judged: {type(unforeseen).__name__}: {unforeseen}"
        return judged, ""

    def _judgement(self, request: SigningRequest) -> tuple[Entry, _Made | None]:
        """What is to be written down of a request, and what is signed then; None: it is refused."""
        try:
            unsigned, index, amount = self._judged(request)
        except SigningRefused as forbidden:
            refusal = Refusal(Never.FORBIDDEN, str(forbidden))
        except SigningDeferred as costly:
            refusal = Refusal(Never.TERMS, str(costly))
        else:
            of_gas_wallet = index == GAS_INDEX
            entry = self.rules.entry(request.request_id, request.content, amount, of_gas_wallet=of_gas_wallet)
            return entry, (unsigned, index)
        return Entry(request.request_id, request.content, refusal=refusal), None

    def _answer(
        self,
        request: SigningRequest,
        made: _Made | None,
        written: SigningDeferred | NeverSigned | None,
    ) -> Answer:
        if isinstance(written, NeverSigned):
            return RefusedNever(request.request_id, str(written), Never(written.why))
        if written is not None:
            return RefusedLater(request.request_id, str(written))
        if made is None:
            # It was signed before, whatever the policy says now: those bytes exist.
            made = self._codec.build(request.payment, request.parameters), self._index(request)
        return self._signed(request, *made)

    def _judged(self, request: SigningRequest) -> tuple[UnsignedTransaction, int, int]:
        """The bytes, the key that signs them, and what is to be counted, native raw units.

        Raises SigningRefused; SigningDeferred for what they may cost."""
        network = self.rules.policy.network
        if (request.family, request.network_id) != (network.family, network.id):
            raise SigningRefused(f"it is for {request.family} {request.network_id}, this signer's network is {network}")
        payment = request.payment
        try:
            unsigned = self._codec.build(payment, request.parameters)
            decoded = self._codec.decode(unsigned.raw, payment.sender)
            cost = self._cost(unsigned)
            already = self._counted_before(request, decoded)
        except (InvalidAddress, UndecodableTransaction, ValueError) as wrong:
            raise SigningRefused(f"it makes no transaction: {wrong}") from wrong
        check_intent(decoded, payment)
        index = signing_index(request.kind, decoded, self._authority(request.wallet_index))
        self.rules.allow(decoded, cost)
        return unsigned, index, max(0, _leaving(decoded) + cost.fee - already)

    def _authority(self, wallet_index: int | None) -> Authority:
        family = self._codec.family
        index = wallet_index if wallet_index is not None and 0 <= wallet_index <= MAX_INDEX else None
        return Authority(
            gas_address=self._keyring.address(family, GAS_INDEX),
            treasury_address=self.rules.policy.treasury or self._keyring.address(family, TREASURY_INDEX),
            wallet_index=wallet_index,
            wallet_address=None if index is None else self._keyring.address(family, index),
        )

    def _index(self, request: SigningRequest) -> int:
        """Of what was signed before: by the sender, as its treasury may be pinned elsewhere by now."""
        gas = self._keyring.address(self._codec.family, GAS_INDEX)
        return GAS_INDEX if request.sender == gas or request.wallet_index is None else request.wallet_index

    def _cost(self, unsigned: UnsignedTransaction) -> Cost:
        """What stands in the bytes, or what a node says beyond it (a part of the fee that no field bounds)."""
        own = self._codec.cost_of(unsigned.raw)
        return Cost(max(own.fee, unsigned.fee_cap), own.gas)

    def _counted_before(self, request: SigningRequest, payment: Payment) -> int:
        """Of bytes that are replaced, with the same nonce: one of both lands. Only what is signed was ever counted.

        Raises UndecodableTransaction, SigningRefused where they are not an earlier offer of the same payment."""
        if request.replaces is None:
            return 0
        check_intent(self._codec.decode(request.replaces), payment)
        nonce = getattr(request.parameters, "nonce", None)
        if not isinstance(self._codec, NumberedCodec) or self._codec.nonce_of(request.replaces) != nonce:
            raise SigningRefused("what it replaces has another nonce")
        return _leaving(payment) + self._codec.cost_of(request.replaces).fee

    def _signed(self, request: SigningRequest, unsigned: UnsignedTransaction, index: int) -> Answer:
        signature = self._keyring.sign(self._codec.family, index, unsigned.digests[0])
        try:
            signed = self._codec.attach(unsigned, signature)
        except BadSignature as wrong:
            return RefusedLater(request.request_id, f"no key of ours signs it: {wrong}")
        return Signed(request.request_id, signed.raw, signed.txid, signature)


def _leaving(payment: Payment) -> int:
    """Coins that leave their sender, fee aside; native raw units."""
    return payment.amount if payment.asset.is_native and payment.receiver != payment.sender else 0
