"""The provider for TRON. Encoding is local; a node is asked for facts and handed finished bytes."""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta

from pipeline.chains.errors import BadSignature, UndecodableTransaction
from pipeline.chains.rpc.broadcast import broadcast
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.rpc.nodes import PATIENCE, Nodes
from pipeline.chains.rpc.receipts import find_gaps
from pipeline.chains.tron.codec import address, transaction
from pipeline.chains.tron.codec.transaction import RawTransfer
from pipeline.chains.tron.rpc import balances, blocks, tokens, verdict
from pipeline.chains.tron.rpc.broadcast import send
from pipeline.chains.tron.rpc.fees import FeeBook, Prices, most_burned, transaction_bytes
from pipeline.chains.tron.rpc.node import TronNode, check_genesis
from pipeline.chains.values import (
    Asset,
    Balance,
    BalanceQuery,
    BlockContent,
    BlockRef,
    BroadcastReply,
    Cost,
    FeeEstimate,
    Finality,
    Lack,
    Payment,
    ReceiptGap,
    SignedTransaction,
    TokenInfo,
    TransactionResult,
    UnsignedTransaction,
    Verdict,
)
from pipeline.curve import PublicKey

LONGEST_LIFETIME = timedelta(hours=24)
"""java-tron refuses an expiration further ahead of the head block."""
_BLOCK_MILLISECONDS = 3000


class TronProvider:
    """Implements :class:`pipeline.chains.provider.Provider`."""

    def __init__(
        self,
        chain: str,
        genesis: str,
        nodes: Sequence[NodeConfig],
        assets: Sequence[Asset],
        *,
        api_keys: Sequence[str] = (),
        clock: Clock | None = None,
        patience: float = PATIENCE,
        death_margin: timedelta = verdict.DEATH_MARGIN,
    ) -> None:
        """``assets`` are what :meth:`decode` knows by name; the native coin among them gives TRX its symbol.

        Raises ValueError without nodes or for a genesis id that is not 64 hex digits.
        """
        clock = clock or Clock()
        self._genesis = _genesis(chain, genesis)
        self._nodes = Nodes(
            chain,
            [TronNode(config, api_keys, clock=clock) for config in nodes],
            lambda node: check_genesis(node, self._genesis),
            patience=patience,
            clock=clock,
        )
        self._assets = {one.contract: one for one in assets}
        self._assets.setdefault(None, Asset("TRX", 6))
        self._balances = balances.reader(self._nodes)
        self._fees = FeeBook(clock, self._nodes)
        self._death_margin = death_margin

    async def check_network(self) -> None:
        await self._nodes.check_all()

    async def lacks(self) -> Mapping[str, Sequence[Lack]]:
        return {}  # java-tron offers all of it

    async def block_ref(self, finality: Finality) -> BlockRef:
        return await self._nodes.ask(lambda node: node.block_ref(finality))

    async def block(self, number: int, finality: Finality) -> BlockContent | None:
        return await self._nodes.ask(lambda node: blocks.read_block(node, number, finality))

    async def balances(self, queries: Sequence[BalanceQuery], finality: Finality = Finality.FINAL) -> list[Balance]:
        return await self._balances.read(queries, finality)

    async def inspect_token(self, contract: str) -> TokenInfo:
        canonical = address.validate(contract)
        return await self._nodes.ask(lambda node: tokens.inspect(node, canonical))

    async def estimate(self, payment: Payment) -> FeeEstimate:
        _check(payment)
        return await self._nodes.ask(lambda node: self._fees.estimate(node, payment))

    async def build(
        self, payment: Payment, estimate: FeeEstimate, lifetime_seconds: float, nonce: int | None = None
    ) -> UnsignedTransaction:
        """Refers to the newest solid block and expires ``lifetime_seconds`` after the head block: the chain's clock
        counts, not ours. Raises ValueError for a lifetime outside (0, 24 h)."""
        _check(payment)
        if nonce is not None:
            raise ValueError(f"nonce {nonce} given: TRON transactions have none")
        lifetime = timedelta(seconds=lifetime_seconds)
        if not timedelta() < lifetime < LONGEST_LIFETIME:
            raise ValueError(f"lifetime of {lifetime_seconds} s: TRON takes more than 0 and less than 24 hours")

        async def ask(node: TronNode) -> tuple[BlockRef, BlockRef, Prices]:
            solid = await node.block_ref(Finality.FINAL)
            return solid, await node.block_ref(Finality.HEAD), await self._fees.prices()

        solid, head, prices = await self._nodes.ask(ask)
        raw = _encode(payment, estimate, solid, head, lifetime)
        cap = estimate.fee_limit + transaction_bytes(payment, estimate.fee_limit) * prices.bandwidth
        return UnsignedTransaction(
            payment=payment,
            raw=raw,
            digest=transaction.digest(raw),
            fee_cap=cap + (prices.activation if payment.asset.is_native else 0),
            expiration=transaction.from_milliseconds(transaction.decode(raw).expiration_ms),
            ref_block=solid.number,
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

    async def broadcast(self, signed: SignedTransaction, repeat: int = 0) -> BroadcastReply:
        return await broadcast(self._nodes, signed, send, repeat)

    async def find(self, txid: str, finality: Finality) -> TransactionResult | None:
        return await self._nodes.ask(lambda node: blocks.read_transaction(node, txid, finality))

    async def find_everywhere(self, txid: str) -> Mapping[str, TransactionResult | None]:
        return await self._nodes.ask_each(lambda node: blocks.read_transaction(node, txid, Finality.FINAL))

    async def verdict(self, signed: SignedTransaction) -> Verdict:
        return await self._nodes.ask(lambda node: verdict.read_verdict(node, signed, self._death_margin))

    async def receipt_gaps(self) -> Mapping[str, ReceiptGap]:
        return await find_gaps(
            self._nodes,
            lambda node: node.block_ref(Finality.FINAL),
            lambda node, number: blocks.read_block(node, number, Finality.FINAL),
        )

    def troubles(self) -> Mapping[str, str]:
        return self._nodes.troubles()

    def validate_address(self, address_text: str) -> str:
        return address.validate(address_text)

    async def close(self) -> None:
        await self._nodes.close()


def _encode(payment: Payment, estimate: FeeEstimate, solid: BlockRef, head: BlockRef, lifetime: timedelta) -> bytes:
    now = transaction.to_milliseconds(head.timestamp)
    ref_bytes, ref_hash = transaction.ref_block(solid.id)
    # The chain does not look at timestamp. A random one within the block keeps two equal payments
    # of one moment from being one and the same transaction.
    return transaction.encode(
        RawTransfer(
            sender=payment.sender,
            receiver=payment.receiver,
            amount=payment.amount,
            contract=payment.asset.contract,
            ref_block_bytes=ref_bytes,
            ref_block_hash=ref_hash,
            expiration_ms=now + lifetime // timedelta(milliseconds=1),
            timestamp_ms=now + secrets.randbelow(_BLOCK_MILLISECONDS),
            fee_limit=estimate.fee_limit,
        )
    )


def _signer(digest: bytes, signature: bytes) -> str:
    if len(signature) != transaction.SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {transaction.SIGNATURE_BYTES} bytes, this one {len(signature)}")
    recovery = signature[64] - 27 if signature[64] >= 27 else signature[64]
    try:
        public = PublicKey.recover(digest, signature[:64] + bytes([recovery]))
    except ValueError as error:
        raise BadSignature(f"the signature recovers to no key: {error}") from error
    return address.from_public_key(public)


def _check(payment: Payment) -> None:
    """Raises InvalidAddress, ValueError for an amount that is not above 0."""
    for one in (payment.sender, payment.receiver):
        address.to_bytes(one)
    if payment.amount <= 0:
        raise ValueError(f"payment of {payment.amount} raw units: it must be above 0")


def _genesis(chain: str, value: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", value):
        raise ValueError(f"network_id of {chain} is {value!r}: it must be the genesis block id, 64 hex digits")
    return value.lower()
