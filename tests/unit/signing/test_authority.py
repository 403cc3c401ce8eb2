"""The rules for signing, against everything that a forged row could ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chains.kinds import Kind
from pipeline.chains.values import Asset, Payment
from pipeline.signing.authority import Authority, SigningRefused, check_intent, check_wallet, signing_index

GAS, TREASURY, OURS, THEIRS = "T-gas", "T-treasury", "T-ours", "T-theirs"
TRX, USDT = Asset("TRX", 6), Asset("USDT", 6, "T-usdt")
AUTHORITY = Authority(GAS, TREASURY, 17, OURS)
FOREIGN = Authority(GAS, TREASURY, None, None)
STATION = Authority(GAS, TREASURY, 0, GAS)

addresses = st.sampled_from([GAS, TREASURY, OURS, THEIRS])
payments = st.builds(Payment, addresses, addresses, st.sampled_from([TRX, USDT]), st.integers(1, 10**12))
authorities = st.builds(
    Authority,
    st.just(GAS),
    st.just(TREASURY),
    st.sampled_from([None, 0, 1, 5, 9, 10, 17]),
    st.sampled_from([None, GAS, TREASURY, OURS]),
)


def test_gas_to_our_wallet_is_signed_by_the_gas_key() -> None:
    assert signing_index(Kind.GAS, Payment(GAS, OURS, TRX, 5), AUTHORITY) == 0


def test_a_consolidation_to_the_treasury_is_signed_by_the_wallets_key() -> None:
    assert signing_index(Kind.CONSOLIDATION, Payment(OURS, TREASURY, USDT, 5), AUTHORITY) == 17


@pytest.mark.parametrize(
    ("kind", "payment", "authority", "why"),
    [
        (Kind.GAS, Payment(GAS, THEIRS, TRX, 5), AUTHORITY, "not derived from our mnemonic"),
        (
            Kind.GAS,
            Payment(GAS, THEIRS, TRX, 5),
            FOREIGN,
            "never rec",
        ),
        (Kind.GAS, Payment(GAS, OURS, USDT, 5), AUTHORITY, "native coin"),
        (Kind.GAS, Payment(TREASURY, OURS, TRX, 5), AUTHORITY, "index 0"),
        (
            Kind.GAS,
            Payment(GAS, GAS, TRX, 5),
            STATION,
            "one of our own",
        ),
        (Kind.CONSOLIDATION, Payment(OURS, THEIRS, USDT, 5), AUTHORITY, "goes to the treasury T-treasury"),
        (Kind.CONSOLIDATION, Payment(OURS, TREASURY, TRX, 5), AUTHORITY, "not the native coin"),
        (Kind.CONSOLIDATION, Payment(THEIRS, TREASURY, USDT, 5), AUTHORITY, "not derived"),
        (
            Kind.CONSOLIDATION,
            Payment(GAS, TREASURY, USDT, 5),
            STATION,
            "one of our own",
        ),
    ],
)
def test_everything_else_is_refused_with_its_reason(
    kind: Kind, payment: Payment, authority: Authority, why: str
) -> None:
    with pytest.raises(SigningRefused, match=why):
        signing_index(kind, payment, authority)


@given(st.sampled_from(Kind), payments, authorities)
def test_whatever_is_signed_stays_in_the_house(kind: Kind, payment: Payment, authority: Authority) -> None:
    """The one property that matters: with any row in the database, money goes to the treasury or to an address whose
    key is ours, and only the key of the sender signs."""
    try:
        index = signing_index(kind, payment, authority)
    except SigningRefused:
        return
    if kind is Kind.GAS:
        assert (index, payment.sender, payment.asset) == (0, GAS, TRX)
        assert payment.receiver == authority.wallet_address != THEIRS
    elif kind is Kind.GAP:
        assert payment.receiver == payment.sender in (GAS, authority.wallet_address)
        assert (payment.asset, payment.amount) == (TRX, 1)
    else:
        assert payment.receiver == TREASURY
        assert (index, payment.sender) == (authority.wallet_index, authority.wallet_address)
        assert index >= 10


@pytest.mark.parametrize("index", range(10))
def test_our_own_wallets_are_neither_filled_nor_emptied(index: int) -> None:
    authority = Authority(GAS, TREASURY, index, OURS)
    for kind, payment in (
        (Kind.GAS, Payment(GAS, OURS, TRX, 5)),
        (Kind.CONSOLIDATION, Payment(OURS, TREASURY, USDT, 5)),
    ):
        with pytest.raises(SigningRefused, match="one of our own"):
            signing_index(kind, payment, authority)


def test_a_wallet_whose_row_was_edited_is_refused_by_name() -> None:
    with pytest.raises(SigningRefused, match=r"T-theirs is not derived .* index 17 is T-ours"):
        check_wallet(THEIRS, AUTHORITY)


@given(payments, payments)
def test_bytes_must_do_exactly_what_was_intended(decoded: Payment, intended: Payment) -> None:
    if decoded == intended:
        check_intent(decoded, intended)
    else:
        with pytest.raises(SigningRefused):
            check_intent(decoded, intended)
