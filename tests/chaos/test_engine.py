"""The engine itself: a seed is one schedule, shrinking finds what matters, and the judge sees what is wrong."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.local.audit import Movement
from tests.chaos.blows import CATALOG, Kind
from tests.chaos.invariants import Verdict, check_coins, check_payments, check_topups, check_treasury
from tests.chaos.ledger import Landed, Ledger
from tests.chaos.reliability import BEGIN, END, figures, put
from tests.chaos.schedule import Layout, Schedule, draw
from tests.chaos.shrink import shrink
from tests.chaos.storm import Outcome
from tests.chaos.summary import commit, summarise

GAS, TREASURY, WALLET, CUSTOMER, TOKEN = "gas", "treasury", "wallet", "customer", "token"
FEE = 3


class TestSchedules:
    def test_a_seed_is_one_schedule(self) -> None:
        assert draw(7, Layout, evm=True) == draw(7, Layout, evm=True)
        assert draw(7, Layout, evm=True) != draw(8, Layout, evm=True)

    def test_every_kind_is_drawn_on_some_stage(self) -> None:
        drawn = {blow.kind for seed in range(60) for blow in draw(seed, Layout, evm=True).blows}
        assert drawn == set(CATALOG) == set(Kind)

    def test_nothing_is_drawn_that_the_stage_lacks(self) -> None:
        for blow in draw(3, [Layout.DIRECT], evm=False, seconds=300).blows:
            assert CATALOG[blow.kind].needs == ""

    def test_kept_and_read_again(self) -> None:
        schedule = draw(11, Layout, evm=True)
        assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule


class TestShrinking:
    async def test_what_matters_is_left(self) -> None:
        async def fails(items: Sequence[int]) -> bool:
            return {13, 71} <= set(items)

        left, how = await shrink(range(100), fails, seconds=60, tries=1)
        assert left == [13, 71]
        assert how.complete

    async def test_one_that_fails_now_and_then_is_tried_again(self) -> None:
        runs = 0

        async def fails(items: Sequence[int]) -> bool:
            nonlocal runs
            runs += 1
            return 5 in items and runs % 2 == 0

        left, _ = await shrink(range(16), fails, seconds=60)
        assert left == [5]

    async def test_the_time_is_up(self) -> None:
        time = 0.0

        async def fails(items: Sequence[int]) -> bool:
            nonlocal time
            time += 1.0
            return 5 in items

        left, how = await shrink(range(1000), fails, seconds=3, clock=lambda: time)
        assert 5 in left
        assert (how.runs, how.complete) == (3, False)


def landed(txid: str, sender: str, receiver: str, amount: int, contract: str | None = None, **more: Any) -> Landed:
    moved = (Movement(txid, contract, sender, receiver, amount),) if more.get("success", True) else ()
    return Landed(txid, sender, more.get("success", True), more.get("fee", FEE), moved)


def attempt(txid: str, sender: str, receiver: str, amount: int, contract: str | None = None, **more: Any) -> Any:
    return {
        "txid": txid,
        "attempt_state": "final",
        "fee_paid": FEE,
        "transfer": 1,
        "state": "final",
        "kind": "gas",
        "idempotency_key": txid,
        "from_address": sender,
        "to_address": receiver,
        "amount": amount,
        "contract_address": contract,
        **more,
    }


def chain_of(*ours: Landed) -> Ledger:
    """A customer has paid 250 tokens to the wallet, somebody 1,000 coins to the gas wallet; then ``ours``."""
    paid = landed("deposit", CUSTOMER, WALLET, 250, TOKEN)
    endowed = landed("endowment", CUSTOMER, GAS, 1000)
    return Ledger([paid, endowed, *ours], gas_wallet=GAS, treasury=TREASURY, wallets=[WALLET])


TOPUP, SWEEP = ("t1", GAS, WALLET, 50), ("t2", WALLET, TREASURY, 250, TOKEN)
ROWS = [attempt(*TOPUP), attempt(*SWEEP)]


def verdict_of(ledger: Ledger, rows: Sequence[Any]) -> Verdict:
    verdict = Verdict()
    check_payments(ledger, rows, verdict)
    check_topups(ledger, 40, verdict)
    check_treasury(ledger, TOKEN, verdict)
    check_coins(ledger, rows, verdict)
    return verdict


class TestTheJudge:
    def test_has_nothing_to_say_when_all_is_well(self) -> None:
        assert verdict_of(chain_of(landed(*TOPUP), landed(*SWEEP)), ROWS).problems == []

    def test_sees_a_key_that_was_paid_twice(self) -> None:
        again = attempt("t3", *TOPUP[1:], idempotency_key="t1")
        verdict = verdict_of(chain_of(landed(*TOPUP), landed("t3", *TOPUP[1:]), landed(*SWEEP)), [*ROWS, again])
        assert any("2 payments for t1" in one for one in verdict.doubles)

    def test_sees_gas_for_one_who_has_it(self) -> None:
        again = attempt("t3", *TOPUP[1:])
        verdict = verdict_of(chain_of(landed(*TOPUP), landed("t3", *TOPUP[1:]), landed(*SWEEP)), [*ROWS, again])
        assert any("held 50 already" in one for one in verdict.doubles)

    def test_sees_a_payment_that_is_unrecorded(self) -> None:
        verdict = verdict_of(chain_of(landed(*TOPUP), landed(*SWEEP)), ROWS[:1])
        assert any("t2 of wallet is unrecorded" in one for one in verdict.doubles)

    def test_sees_money_that_stayed_behind(self) -> None:
        verdict = verdict_of(chain_of(landed(*TOPUP)), ROWS[:1])
        assert verdict.losses == ["250 were deposited, 0 reached the treasury; left: {'wallet': 250}"]

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({"state": "included"}, "is final on the chain"),
            ({"fee_paid": FEE + 1}, "the records say 4"),
            ({"fee_paid": FEE + 1}, "coins by the records"),
            ({"amount": 51}, "wanted otherwise"),
            ({"txid": "t9"}, "is recorded final and is nowhere"),
        ],
    )
    def test_sees_wrong_records(self, row: Any, said: str) -> None:
        verdict = verdict_of(chain_of(landed(*TOPUP), landed(*SWEEP)), [ROWS[0] | row, ROWS[1]])
        assert any(said in one for one in verdict.wrongs), verdict

    def test_sees_a_failure_that_is_recorded_as_paid(self) -> None:
        verdict = verdict_of(chain_of(landed(*TOPUP), landed(*SWEEP, success=False)), ROWS)
        assert any("t2 of transfer 1 is reverted on the chain" in one for one in verdict.wrongs)


class TestThePage:
    def test_only_the_figures_are_made_anew(self) -> None:
        page = f"by hand\n{BEGIN}\nold\n{END}\nby hand, too\n"
        assert put(page, "new") == f"by hand\n{BEGIN}\n\nnew\n{END}\nby hand, too\n"

    def test_a_page_without_its_marks_is_left_alone(self) -> None:
        with pytest.raises(ValueError, match="lacks"):
            put(f"{BEGIN} and no end", "new")

    def test_what_a_run_was_like_is_in_it(self) -> None:
        schedule = draw(1, [Layout.HOSTS], evm=True)
        outcome = Outcome(schedule, problems=["jobs | lost"], orphaned_in_calm=[4.0])
        outcome.struck.update({str(Kind.KILL): 3, str(Kind.FLIP): 2})
        outcome.verdicts["tron"] = Verdict(payments=7, doubles=["twice"])
        page = figures([summarise(outcome)], [], [])
        for row in (
            f"| {Kind.KILL} | 3 |",
            f"| {Kind.FLIP} | 2 |",
            "| payments on the chains | 7 |",
            "| **payments made twice** | **1** |",
            "| – on three hosts (network namespaces) | 1 |",
            f"| 1 | {commit()} | jobs / lost |",
        ):
            assert row in page
