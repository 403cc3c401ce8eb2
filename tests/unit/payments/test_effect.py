"""What a transaction did to the payments that it carries: each effect counts for one of them only."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.chains.values import Asset, BlockRef, Effect, Payment, TransactionResult
from pipeline.payments.effect import EFFECT_ABSENT, did_all, judge
from pipeline.payments.states import TransferState

FINAL, REVERTED = TransferState.FINAL, TransferState.REVERTED
TOKEN = Asset("USDT", 6, "token")
SHARES = replace(TOKEN, contract="shares", tolerance=2)
COIN = Asset("TRX", 6)
BLOCK = BlockRef(7, "b7", datetime(2026, 1, 1, tzinfo=UTC))


def pays(amount: int, receiver: str = "customer", asset: Asset = TOKEN, sender: str = "hot") -> Payment:
    return Payment(sender, receiver, asset, amount)


def moves(*effects: tuple[int, str], asset: Asset = TOKEN, success: bool = True) -> TransactionResult:
    """Each an amount and a receiver, in the log at its position."""
    moved = tuple(
        Effect(asset.contract, "hot", receiver, amount, f"l{place}") for place, (amount, receiver) in enumerate(effects)
    )
    return TransactionResult("tx", BLOCK, success, 3, moved)


def states(payments: list[Payment], result: TransactionResult) -> list[TransferState]:
    return [one.state for one in judge(payments, result)]


class TestOne:
    def test_made_as_intended_it_has_its_place(self) -> None:
        (judged,) = judge([pays(100)], moves((100, "customer")))
        assert (judged.state, judged.error, judged.arrived, judged.place) == (FINAL, None, None, "l0")

    def test_a_failure_has_no_place(self) -> None:
        (judged,) = judge([pays(100)], moves(success=False))
        assert (judged.state, judged.place) == (REVERTED, None)

    def test_nothing_arrived(self) -> None:
        (judged,) = judge([pays(100)], moves((100, "thief")))
        assert judged.state is REVERTED
        assert judged.error is not None
        assert judged.error.startswith(EFFECT_ABSENT)

    def test_a_token_that_keeps_a_part(self) -> None:
        (judged,) = judge([pays(100)], moves((90, "customer"), (10, "collector")))
        assert (judged.state, judged.arrived, judged.place) == (FINAL, 90, "l0")
        assert judged.error is not None
        assert "takes a fee on transfers" in judged.error

    def test_a_token_that_takes_more_than_the_amount(self) -> None:
        (judged,) = judge([pays(100)], moves((100, "customer"), (10, "collector")))
        assert (judged.state, judged.arrived) == (FINAL, None)
        assert judged.error is not None
        assert "0.00001 went to collector" in judged.error

    def test_in_pieces_it_has_the_place_of_the_first(self) -> None:
        (judged,) = judge([pays(100)], moves((60, "customer"), (40, "customer")))
        assert (judged.state, judged.error, judged.arrived, judged.place) == (FINAL, None, None, "l0")

    def test_coins_come_whole_or_not_at_all(self) -> None:
        assert states([pays(100, asset=COIN)], moves((60, "customer"), (40, "customer"), asset=COIN)) == [REVERTED]
        assert states([pays(100, asset=COIN)], moves((100, "customer"), asset=COIN)) == [FINAL]

    def test_shares_round(self) -> None:
        (judged,) = judge([pays(100, asset=SHARES)], moves((98, "customer"), asset=SHARES))
        assert (judged.state, judged.error, judged.arrived) == (FINAL, None, 98)


class TestSeveral:
    def test_two_equal_ones_need_two_effects(self) -> None:
        twice, result = [pays(100), pays(100)], moves((100, "customer"), (100, "customer"))
        assert [(one.state, one.error, one.place) for one in judge(twice, result)] == [
            (FINAL, None, "l0"),
            (FINAL, None, "l1"),
        ]
        assert did_all(twice, result)

    def test_one_effect_makes_one_of_them(self) -> None:
        twice, result = [pays(100), pays(100)], moves((100, "customer"))
        first, second = judge(twice, result)
        assert (first.state, first.place) == (FINAL, "l0")
        assert (second.state, second.place) == (REVERTED, None)
        assert not did_all(twice, result)

    def test_the_sum_of_two_makes_none_as_intended(self) -> None:
        """One transfer of 200 in place of two: it is counted once, and is not what that one was to get."""
        judged = judge([pays(100), pays(100)], moves((200, "customer")))
        assert sorted((one.state, one.arrived) for one in judged) == [(FINAL, 200), (REVERTED, None)]
        assert all(one.error is not None for one in judged)

    @pytest.mark.parametrize("turned", [False, True])
    def test_each_gets_its_own_amount_in_any_order(self, *, turned: bool) -> None:
        payments = [pays(100), pays(70), pays(100, "other")]
        effects = [(100, "customer"), (70, "customer"), (100, "other")]
        judged = judge(payments, moves(*(reversed(effects) if turned else effects)))
        assert [(one.state, one.error) for one in judged] == [(FINAL, None)] * 3
        assert [one.place for one in judged] == (["l2", "l1", "l0"] if turned else ["l0", "l1", "l2"])

    def test_no_place_is_given_twice(self) -> None:
        judged = judge([pays(100)] * 5, moves(*[(100, "customer")] * 5))
        assert len({one.place for one in judged}) == 5

    def test_an_exact_effect_is_kept_for_the_payment_that_wants_it(self) -> None:
        """The tolerance of the first one must not take it."""
        payments = [pays(101, asset=SHARES), pays(100, asset=SHARES)]
        first, second = judge(payments, moves((100, "customer"), (99, "customer"), asset=SHARES))
        assert (first.state, first.arrived, first.place) == (FINAL, 99, "l1")
        assert (second.state, second.arrived, second.place) == (FINAL, None, "l0")

    def test_a_token_that_keeps_a_part_of_each(self) -> None:
        judged = judge(
            [pays(100), pays(100)], moves((90, "customer"), (10, "collector"), (90, "customer"), (10, "collector"))
        )
        assert [(one.state, one.arrived, one.place) for one in judged] == [(FINAL, 90, "l0"), (FINAL, 90, "l2")]
        assert all(one.error is not None and "went to collector" in one.error for one in judged)

    def test_what_others_of_the_bundle_get_went_nowhere_else(self) -> None:
        judged = judge([pays(100), pays(50, "other")], moves((100, "customer"), (50, "other")))
        assert [one.error for one in judged] == [None, None]

    def test_one_that_was_left_out_does_not_hurt_the_others(self) -> None:
        judged = judge([pays(100), pays(50, "other"), pays(30, "third")], moves((100, "customer"), (30, "third")))
        assert [one.state for one in judged] == [FINAL, REVERTED, FINAL]

    def test_different_assets_and_senders_do_not_mix(self) -> None:
        payments = [pays(100), pays(100, asset=COIN), pays(100, sender="other")]
        assert states(payments, moves((100, "customer"), (100, "customer"))) == [FINAL, REVERTED, REVERTED]

    def test_a_failure_is_of_all(self) -> None:
        assert states([pays(100), pays(50)], moves(success=False)) == [REVERTED, REVERTED]
        assert not did_all([pays(100)], moves((100, "customer"), success=False))
