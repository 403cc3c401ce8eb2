"""The codecs alone: what a signer without a node builds, reads and signs."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.chains.codec import Codec, NumberedCodec
from pipeline.chains.errors import BadSignature, InvalidAddress, UndecodableTransaction
from pipeline.chains.families.addresses import address_of
from pipeline.chains.families.codecs import codec_of
from pipeline.chains.fees import EvmParameters, Parameters, TronParameters
from pipeline.chains.values import Asset, Family, Payment
from pipeline.curve import PrivateKey

KEY, OTHER = PrivateKey(b"\x07" * 32), PrivateKey(b"\x08" * 32)
NOW = datetime(2026, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)
TRON = TronParameters(70_000, f"{70_000:016x}" + "ab" * 24, NOW + timedelta(seconds=60), NOW, fee_limit=0)
EVM = EvmParameters(nonce=3, gas_limit=65_000, max_fee=20, tip=1, l1_fee=11, ref_block=9)


@dataclass(frozen=True)
class Network:
    codec: Codec
    parameters: Parameters
    others: Parameters
    """Of the other family."""
    token: str

    def payment(self, contract: str | None = None) -> Payment:
        sender, receiver = (address_of(self.codec.family, key.public_key) for key in (KEY, OTHER))
        return Payment(sender, receiver, Asset("X", 6, contract), 1_234)


@pytest.fixture(params=list(Family))
def network(request: pytest.FixtureRequest) -> Network:
    if request.param is Family.TRON:
        return Network(codec_of("tron", "00" * 32), TRON, EVM, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
    return Network(codec_of("evm", "56"), EVM, TRON, "0x55d398326f99059fF775485246999027B3197955")


def test_a_payment_is_built_read_back_and_signed(network: Network) -> None:
    for payment in (network.payment(), network.payment(network.token)):
        unsigned = network.codec.build(payment, network.parameters)
        assert network.codec.decode(unsigned.raw, payment.sender).does_as(payment)
        signed = network.codec.attach(unsigned, KEY.sign(unsigned.digest))
        assert network.codec.decode(signed.raw).does_as(payment)
        assert network.codec.txid_of(signed.raw) == signed.txid
        assert network.codec.cost_of(signed.raw) == network.codec.cost_of(unsigned.raw)
        assert (signed.sender, signed.fee_cap) == (payment.sender, unsigned.fee_cap)
        assert network.codec.build(payment, network.parameters) == unsigned


def test_the_cap_is_what_the_bytes_can_burn_where_no_node_says_otherwise(network: Network) -> None:
    for payment in (network.payment(), network.payment(network.token)):
        unsigned = network.codec.build(payment, network.parameters)
        beside = 11 if network.codec.family is Family.EVM else 0
        assert unsigned.fee_cap == network.codec.cost_of(unsigned.raw).fee + beside


def test_a_signature_of_another_key(network: Network) -> None:
    unsigned = network.codec.build(network.payment(), network.parameters)
    with pytest.raises(BadSignature):
        network.codec.attach(unsigned, OTHER.sign(unsigned.digest))


def test_a_payment_differs_by_what_moves_and_not_by_its_assets_name(network: Network) -> None:
    payment = network.payment(network.token)
    assert payment.does_as(replace(payment, asset=Asset("Y", 0, network.token, 3)))
    for other in (
        replace(payment, amount=1_235),
        replace(payment, receiver=payment.sender),
        replace(payment, sender=payment.receiver),
        replace(payment, asset=Asset("X", 6)),
    ):
        assert not payment.does_as(other)


def test_what_is_not_built(network: Network) -> None:
    payment = network.payment()
    with pytest.raises(ValueError, match="is built from"):
        network.codec.build(payment, network.others)
    with pytest.raises(ValueError, match="must be above 0"):
        network.codec.build(replace(payment, amount=0), network.parameters)
    with pytest.raises(InvalidAddress):
        network.codec.build(replace(payment, receiver="nobody"), network.parameters)
    with pytest.raises(UndecodableTransaction):
        network.codec.decode(b"\x00" * 40, payment.sender)


def test_only_evm_numbers_transactions(network: Network) -> None:
    codec = network.codec
    assert isinstance(codec, NumberedCodec) == (codec.family is Family.EVM)
    if isinstance(codec, NumberedCodec):
        unsigned = codec.build(network.payment(), EVM)
        assert codec.renumber(unsigned, 8) == codec.build(network.payment(), EVM.numbered(8))


@pytest.mark.parametrize(("family", "network_id"), [("solana", "1"), ("evm", "mainnet"), ("evm", "0"), ("evm", "٣")])
def test_networks_without_a_codec(family: str, network_id: str) -> None:
    with pytest.raises(ValueError, match=r"family|chain id"):
        codec_of(family, network_id)
