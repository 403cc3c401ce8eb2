"""The signer in this process: what it signs, what it never does, and what it remembers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.chains.families.codecs import codec_of
from pipeline.chains.fees import EvmParameters, TronParameters
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Family
from pipeline.keys.derivation import GAS_INDEX, TREASURY_INDEX
from pipeline.signing.keyring import Keyring
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.local import LocalSigner
from pipeline.signing.networks import NAMED
from pipeline.signing.request import Never, RefusedLater, RefusedNever, Signed, SigningRequest
from pipeline.signing.rules import GAS_WALLET, WALLETS, SigningRules, ceiling_of
from tests.policy import policy

ABOUT = "abandon " * 11 + "about"
KEYS = Keyring(ABOUT)
NETWORK = {Family.EVM: "56", Family.TRON: NAMED["tron"].id}
TOKEN = {Family.EVM: "0x55d398326f99059fF775485246999027B3197955", Family.TRON: "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"}
FEE = {Family.EVM: 21_000 * 5, Family.TRON: None}
GENESIS = datetime(2030, 1, 1, tzinfo=UTC)
FAMILIES = list(Family)


def parameters(family: Family, nonce: int = 7) -> EvmParameters | TronParameters:
    if family is Family.EVM:
        return EvmParameters(nonce, 21_000, 5, 1)
    return TronParameters(9, "ab" * 32, GENESIS + timedelta(minutes=3), GENESIS)


def topup(family: Family, request_id: str = "r1", *, index: int = 17, amount: int = 1_000) -> SigningRequest:
    return SigningRequest(
        request_id,
        Kind.GAS,
        family,
        NETWORK[family],
        index,
        KEYS.address(family, GAS_INDEX),
        KEYS.address(family, index),
        None,
        amount,
        parameters(family),
    )


def sweep(family: Family, request_id: str = "r1") -> SigningRequest:
    parties = KEYS.address(family, 17), KEYS.address(family, TREASURY_INDEX)
    made = parameters(family)
    fees = replace(made, gas_limit=60_000) if isinstance(made, EvmParameters) else replace(made, fee_limit=9)
    return SigningRequest(
        request_id, Kind.CONSOLIDATION, family, NETWORK[family], 17, *parties, TOKEN[family], 10**6, fees
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "signed.jsonl"


def signer(family: Family, path: Path, **limits: int) -> LocalSigner:
    known = policy(family, NETWORK[family], TOKEN[family], **limits)
    return LocalSigner(Keyring(ABOUT), SigningRules(known, SpendingLedger(path)))


def spent(one: LocalSigner, whose: str = GAS_WALLET) -> int:
    return one.rules._ledger.spent(ceiling_of(one.rules.policy, whose).of)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("make", [topup, sweep])
async def test_it_signs_what_it_is_told_and_nothing_else(family: Family, path: Path, make) -> None:  # type: ignore[no-untyped-def]
    request = make(family)
    (answer,) = await signer(family, path).sign([request])
    assert isinstance(answer, Signed)
    codec = codec_of(family, NETWORK[family])
    unsigned = codec.build(request.payment, request.parameters)
    signed = codec.attach(unsigned, answer.signature)
    assert (answer.raw, answer.txid) == (signed.raw, signed.txid) == (answer.raw, codec.txid_of(answer.raw))
    moved = codec.decode(answer.raw)
    assert (moved.sender, moved.receiver, moved.asset.contract, moved.amount) == (
        *(request.sender, request.receiver, request.contract, request.amount),
    )


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_same_request_gets_the_same_bytes_and_counts_once(family: Family, path: Path) -> None:
    """From this process, from the next one, and from another host with the same keys."""
    first = signer(family, path)
    answers = [
        *await first.sign([topup(family)]),
        *await first.sign([topup(family)]),
        *await signer(family, path).sign([topup(family)]),
        *await signer(family, path.with_name("other")).sign([topup(family)]),
        *await signer(family, path).withdraw([topup(family)]),
    ]
    assert len(set(answers)) == 1
    once = spent(first)
    await first.sign([topup(family, "r2")])
    assert spent(first) == 2 * once


@pytest.mark.parametrize("family", FAMILIES)
async def test_another_content_under_the_same_id_is_refused_and_nothing_given_up(family: Family, path: Path) -> None:
    one = signer(family, path)
    await one.sign([topup(family)])
    for other in (topup(family, amount=1_001), topup(family, index=18), sweep(family)):
        (answer,) = await one.sign([other])
        assert isinstance(answer, RefusedLater), other
        assert "was asked before, for something else" in answer.reason
    assert isinstance((await one.sign([topup(family)]))[0], Signed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"receiver": "TREASURY"}, "is not derived from our mnemonic"),
        ({"wallet_index": 18}, "is not derived from our mnemonic"),
        ({"wallet_index": None}, "is not derived from our mnemonic"),
        ({"wallet_index": 2**40}, "is not derived from our mnemonic"),
        ({"sender": "TREASURY"}, "gas is paid from"),
        ({"kind": "withdrawal"}, "no rule allows signing a withdrawal"),
        ({"kind": "gap"}, "a gap is filled by"),
        ({"network_id": "57"}, "this signer's network is"),
        ({"amount": 0}, "makes no transaction"),
        ({"receiver": "nobody"}, "makes no transaction"),
    ],
)
async def test_what_the_policy_forbids_is_never_signed(
    family: Family, path: Path, change: dict[str, object], why: str
) -> None:
    """And that is said again after a restart, whatever the policy says then."""
    asked = topup(family)
    told = {
        name: KEYS.address(family, TREASURY_INDEX) if value == "TREASURY" else value for name, value in change.items()
    }
    wrong = replace(asked, **told)  # type: ignore[arg-type]
    for _ in range(2):
        (answer,) = await signer(family, path).sign([wrong])
        assert isinstance(answer, RefusedNever), change
        assert why in answer.reason
        assert answer.why is Never.FORBIDDEN
    assert spent(signer(family, path)) == 0


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_contract_that_is_not_listed(family: Family, path: Path) -> None:
    known = policy(family, NETWORK[family])
    one = LocalSigner(Keyring(ABOUT), SigningRules(known, SpendingLedger(path)))
    (answer,) = await one.sign([sweep(family)])
    assert isinstance(answer, RefusedNever)
    assert answer.why is Never.FORBIDDEN
    assert "is not in the signing policy" in answer.reason


@pytest.mark.parametrize("family", FAMILIES)
async def test_what_is_too_dear_is_never_signed_and_its_payment_may_be_asked_for_anew(
    family: Family, path: Path
) -> None:
    (answer,) = await signer(family, path, fee_max=1).sign([topup(family)])
    assert isinstance(answer, RefusedNever)
    assert answer.why is Never.TERMS
    (again,) = await signer(family, path).sign([topup(family)])
    assert again == answer, "whatever the policy says later"
    assert isinstance((await signer(family, path).sign([topup(family, "r2")]))[0], Signed)


@pytest.mark.parametrize("family", FAMILIES)
async def test_above_the_ceiling_it_is_signed_later(family: Family, path: Path) -> None:
    known = signer(family, path)
    await known.sign([topup(family)])
    little = signer(family, path, day_max=spent(known))
    (answer,) = await little.sign([topup(family, "r2")])
    assert isinstance(answer, RefusedLater)
    assert "day_max of the signing policy" in answer.reason
    assert isinstance((await known.sign([topup(family, "r2")]))[0], Signed)


async def test_where_nothing_can_be_written_nothing_is_signed_nor_refused_for_good(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = signer(Family.EVM, tmp_path / "file" / "signed.jsonl")
    forbidden = replace(topup(Family.EVM, "r2"), kind="withdrawal")
    for answer in (*await broken.sign([topup(Family.EVM)]), *await broken.sign([forbidden])):
        assert isinstance(answer, RefusedLater)
        assert "cannot be written to" in answer.reason


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["never", "later"])
async def test_a_batch_is_signed_up_to_the_first_refusal(family: Family, path: Path, kind: str) -> None:
    """What was not reached is never signed under its id; what was signed before stays signed."""
    one = signer(family, path)
    await one.sign([topup(family, "before")])
    if kind == "later":
        one = signer(family, path, day_max=2 * spent(one))
    batch = [
        topup(family, "r1"),
        topup(family, "r2") if kind == "later" else replace(topup(family, "r2"), kind="withdrawal"),
        topup(family, "r3"),
        topup(family, "before"),
    ]
    first, second, third, fourth = await one.sign(batch)
    assert isinstance(first, Signed)
    assert isinstance(second, RefusedLater if kind == "later" else RefusedNever)
    assert isinstance(third, RefusedNever)
    assert third.why is Never.UNREACHED
    assert isinstance(fourth, Signed)
    (again,) = await signer(family, path).sign([topup(family, "r3")])
    assert again == third


@pytest.mark.parametrize("family", FAMILIES)
async def test_what_was_withdrawn_is_never_signed(family: Family, path: Path) -> None:
    one = signer(family, path)
    (withdrawn,) = await one.withdraw([topup(family)])
    assert isinstance(withdrawn, RefusedNever)
    assert await signer(family, path).sign([topup(family)]) == [withdrawn]


class TestReplacement:
    async def signed(self, one: LocalSigner, make=topup) -> Signed:  # type: ignore[no-untyped-def]
        (answer,) = await one.sign([make(Family.EVM, "r1")])
        assert isinstance(answer, Signed)
        return answer

    def bump(self, request: SigningRequest, replaces: bytes, **changes: int) -> SigningRequest:
        fees = replace(request.parameters, max_fee=6, tip=2, **changes)  # type: ignore[arg-type]
        return replace(request, request_id="r2", parameters=fees, replaces=replaces)

    @pytest.mark.parametrize(("make", "whose"), [(topup, GAS_WALLET), (sweep, WALLETS)])
    async def test_it_counts_what_it_adds(self, path: Path, make, whose: str) -> None:  # type: ignore[no-untyped-def]
        one = signer(Family.EVM, path)
        first = await self.signed(one, make)
        before = spent(one, whose)
        request = make(Family.EVM)
        (answer,) = await one.sign([self.bump(request, first.raw)])
        assert isinstance(answer, Signed)
        assert spent(one, whose) - before == request.parameters.gas_limit

    async def test_of_another_nonce_or_payment_it_is_none(self, path: Path) -> None:
        """Else it would be counted as what it adds, and one beside the other could land."""
        one = signer(Family.EVM, path)
        first = await self.signed(one)
        for wrong in (
            self.bump(topup(Family.EVM), first.raw, nonce=8),
            self.bump(topup(Family.EVM, amount=1_001), first.raw),
            self.bump(topup(Family.EVM), b"nonsense"),
        ):
            (answer,) = await one.sign([replace(wrong, request_id=wrong.content)])
            assert isinstance(answer, RefusedNever), wrong

    async def test_bytes_that_nobody_signed_were_never_counted(self, path: Path) -> None:
        """Whoever writes attempts could else name his own as replaced, and have every payment counted as nothing."""
        one = signer(Family.EVM, path)
        request = topup(Family.EVM)
        unsigned = codec_of(Family.EVM, NETWORK[Family.EVM]).build(request.payment, request.parameters)
        (answer,) = await one.sign([self.bump(request, unsigned.raw)])
        assert isinstance(answer, RefusedNever)
        assert spent(one) == 0
