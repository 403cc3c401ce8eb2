"""Fees that keep everything waiting: people hear of it after an hour, and once an hour."""

import pytest

from pipeline.chains.errors import ChainUnavailable, FeeCapTooLow
from pipeline.chains.fees import TronFee
from pipeline.log import LogThrottle
from pipeline.payments.send import fee_alarm
from pipeline.payments.send.fee_alarm import LONGEST_SECONDS, FeeAlarm

DEAR = FeeCapTooLow(2, 1, "the base fee on bsc is 2 gwei, the cap is 1")
CHEAP = TronFee(fee=1, fee_limit=1)


class Watched:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.watch = FeeAlarm(self.told.append, lambda: self.now)
        monkeypatch.setattr(fee_alarm.time, "monotonic", lambda: self.now)

    def after(self, seconds: float, *priced: TronFee | Exception) -> int:
        self.now += seconds
        self.watch.note("bsc", priced)
        return len(self.told)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    watching = Watched(monkeypatch)
    watching.now = 10.0  # a LogThrottle that was never due is due at any time above 0
    return watching


def test_an_hour_of_prices_above_the_cap_is_told_once(watched: Watched) -> None:
    assert watched.after(0, DEAR, DEAR) == 0
    assert watched.after(LONGEST_SECONDS - 1, DEAR) == 0
    assert watched.after(1, DEAR) == 1
    assert "nothing has been paid for 60 min" in watched.told[0]
    assert "the cap is 1" in watched.told[0]
    assert watched.after(60, DEAR) == 1
    assert watched.after(LONGEST_SECONDS, DEAR) == 2


def test_what_is_paid_in_between_begins_the_hour_anew(watched: Watched) -> None:
    watched.after(0, DEAR)
    watched.after(LONGEST_SECONDS, DEAR, CHEAP)
    assert watched.after(LONGEST_SECONDS - 1, DEAR) == 0


def test_what_was_told_is_taken_back_once_when_something_is_paid(watched: Watched) -> None:
    watched.after(0, DEAR)
    assert watched.after(LONGEST_SECONDS, DEAR) == 1
    assert watched.after(60, CHEAP) == 2
    assert watched.told[-1] == ""
    assert watched.after(60, CHEAP) == 2


def test_other_trouble_says_nothing_of_prices(watched: Watched) -> None:
    watched.after(0, DEAR)
    watched.after(LONGEST_SECONDS / 2, ChainUnavailable("no node"))
    assert watched.after(LONGEST_SECONDS / 2, DEAR) == 1


def test_each_chain_has_its_own(watched: Watched) -> None:
    assert isinstance(watched.watch._throttle, LogThrottle)
    assert watched.watch._throttle is not FeeAlarm()._throttle
