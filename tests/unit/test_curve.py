"""Keys and signatures through each binding: published vectors, and the same bytes as others make.

Where both bindings install, each is the other's witness; eth-keys, which is Python throughout, is asked everywhere.
"""

import hashlib
import importlib
import pickle
from collections.abc import Iterator
from types import ModuleType

import pytest
from eth_keys import KeyAPI
from eth_keys.backends import NativeECCBackend
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import curve
from pipeline.curve import PrivateKey, PublicKey
from tests.witness import witness

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
GENERATOR = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
DIGEST = bytes(range(32))
SIGNED = PrivateKey((7).to_bytes(32, "big")).sign(DIGEST)

secrets = st.one_of(st.integers(1, ORDER - 1), st.sampled_from([1, 2, ORDER - 2, ORDER - 1])).map(
    lambda number: number.to_bytes(32, "big")
)
digests = st.binary(min_size=32, max_size=32)
BINDINGS = {"coincurve": "coincurve", "btclib": "btclib_secp256k1"}


@pytest.fixture(scope="module", autouse=True, params=BINDINGS)
def library(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Every test here, once through each binding; this Python's own one is among them."""
    witness(BINDINGS[request.param])
    module = importlib.import_module(f"pipeline.curve.by_{request.param}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curve, "library", module)
        yield module


def number(value: int) -> bytes:
    return value.to_bytes(32, "big")


@pytest.mark.parametrize(
    ("secret", "message", "signature"),
    [
        (
            1,
            b"Satoshi Nakamoto",
            "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
            "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
        ),
        (
            ORDER - 1,
            b"Satoshi Nakamoto",
            "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0"
            "6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5",
        ),
        (
            1,
            b"All those moments will be lost in time, like tears in rain. Time to die...",
            "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b"
            "547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21",
        ),
    ],
)
def test_deterministic_signatures_as_published(secret: int, message: bytes, signature: str) -> None:
    """The vectors for RFC 6979 on secp256k1 with SHA-256 that Trezor, CoreBitcoin and others test with."""
    assert PrivateKey(number(secret)).sign(hashlib.sha256(message).digest())[:64].hex() == signature


@given(secret=secrets, digest=digests)
@settings(deadline=None)
def test_signatures_are_coincurves(secret: bytes, digest: bytes) -> None:
    coincurve = witness("coincurve")
    theirs = coincurve.PrivateKey(secret)
    signature = PrivateKey(secret).sign(digest)
    assert signature == theirs.sign_recoverable(digest, hasher=None)
    recovered = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
    assert PublicKey.recover(digest, signature).format() == recovered.format() == theirs.public_key.format()
    assert PublicKey.recover(digest, signature).format(compressed=False) == recovered.format(compressed=False)


@given(secret=secrets, scalar=secrets)
@settings(deadline=None)
def test_sums_are_coincurves(secret: bytes, scalar: bytes) -> None:
    theirs = witness("coincurve").PrivateKey(secret)
    ours = PrivateKey(secret)
    if (int.from_bytes(secret, "big") + int.from_bytes(scalar, "big")) % ORDER == 0:
        for key in (ours, ours.public_key):
            with pytest.raises(ValueError, match=r"invalid|out of range"):
                key.add(scalar)
        return
    assert ours.add(scalar).secret == theirs.add(scalar).secret
    assert ours.public_key.add(scalar) == ours.add(scalar).public_key
    assert ours.public_key.add(scalar).format() == theirs.public_key.add(scalar).format()


@given(secret=secrets, digest=digests)
@settings(max_examples=25, deadline=None)
def test_signatures_are_eth_keys(secret: bytes, digest: bytes) -> None:
    theirs = KeyAPI(NativeECCBackend()).PrivateKey(secret)
    ours = PrivateKey(secret)
    assert ours.sign(digest) == theirs.sign_msg_hash(digest).to_bytes()
    assert ours.public_key.format(compressed=False)[1:] == theirs.public_key.to_bytes()


@given(secret=secrets, digest=digests)
def test_s_is_low_and_the_key_comes_back(secret: bytes, digest: bytes) -> None:
    key = PrivateKey(secret)
    signature = key.sign(digest)
    assert len(signature) == 65
    assert int.from_bytes(signature[32:64], "big") <= ORDER // 2
    assert PublicKey.recover(digest, signature) == key.public_key


def test_both_forms_of_a_point() -> None:
    one = PrivateKey(number(1)).public_key
    assert one.format().hex() == GENERATOR
    assert PublicKey(one.format()) == PublicKey(one.format(compressed=False)) == one
    assert one != PrivateKey(number(2)).public_key
    assert PrivateKey(number(ORDER - 1)).public_key.format().hex() == "03" + GENERATOR[2:]


@pytest.mark.parametrize("secret", [number(0), number(ORDER), b"\xff" * 32, b"", bytes(31), number(1) + b"\0"], ids=len)
def test_what_is_no_key(secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"(?i)private key|secret"):
        PrivateKey(secret)


@pytest.mark.parametrize("point", [b"", bytes(33), b"\x02" + b"\xff" * 32, bytes.fromhex(GENERATOR)[:-1]])
def test_what_is_no_point(point: bytes) -> None:
    with pytest.raises(ValueError, match="public key"):
        PublicKey(point)


@pytest.mark.parametrize("scalar", [b"", bytes(31), bytes(33)])
def test_what_is_no_scalar(scalar: bytes) -> None:
    key = PrivateKey(number(7))
    with pytest.raises(ValueError, match="32 bytes"):
        key.add(scalar)
    with pytest.raises(ValueError, match="32 bytes"):
        key.public_key.add(scalar)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        SIGNED[:64],
        SIGNED + b"\0",
        SIGNED[:64] + b"\x04",
        SIGNED[:64] + b"\xff",
        bytes(65),
        bytes(32) + SIGNED[32:],
        SIGNED[:32] + bytes(32) + SIGNED[64:],
        number(ORDER) + SIGNED[32:],
        SIGNED[:32] + number(ORDER) + SIGNED[64:],
    ],
)
def test_what_is_no_signature(signature: bytes) -> None:
    with pytest.raises(ValueError, match=r"(?i)signature|recover"):
        PublicKey.recover(DIGEST, signature)


def test_a_changed_signature_names_another_key() -> None:
    turned = SIGNED[:64] + bytes([SIGNED[64] ^ 1])
    assert PublicKey.recover(DIGEST, turned) != PublicKey.recover(DIGEST, SIGNED)


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33)])
def test_only_digests_are_signed(digest: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PrivateKey(number(7)).sign(digest)
    with pytest.raises(ValueError, match="32 bytes"):
        PublicKey.recover(digest, SIGNED)


def test_a_signature_of_another_key_is_not_handed_out(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a flipped bit in the middle of the computation would make one, from which the key can be told."""
    key = PrivateKey(number(7))
    sign = library.sign
    monkeypatch.setattr(library, "sign", lambda digest, secret: sign(hashlib.sha256(digest).digest(), secret))
    with pytest.raises(RuntimeError, match="does not name the key"):
        key.sign(DIGEST)


def test_private_keys_are_not_shown_or_pickled() -> None:
    key = PrivateKey(number(7))
    assert "7" not in repr(key)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)
