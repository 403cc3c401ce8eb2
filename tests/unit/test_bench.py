"""How the benchmarks judge: ratios, and what holds of the aims."""

import json
from typing import Any

import pytest

from bench import versions
from bench.aims import AIMS, BEST, FLOOR, Bound
from bench.contestants import OURS
from bench.hops import split
from bench.result import Result


def found(**results: Result) -> dict[str, dict[str, Any]]:
    """As it is read back from bench/results."""
    return {
        name: json.loads(json.dumps(result.as_json(left_out={}, command="", versions={}, machine={})))
        for name, result in results.items()
    }


latency = Result("latency", "ms", {OURS: [2.0, 9.0, 2.2], "quick": [4.0], "slow": [8.0, 10.0], "gone": []}, floor=[1.1])
rate = Result("rate", "jobs/s", {OURS: [30.0], "quick": [40.0], "slow": [10.0]}, lower_is_better=False)


def test_medians_and_ranges() -> None:
    result = found(latency=latency)["latency"]
    assert (result["ours"], result["min"], result["max"]) == (2.2, 2.0, 9.0)
    assert result["peers"] == {
        "quick": {"median": 4.0, "min": 4.0, "max": 4.0},
        "slow": {"median": 9.0, "min": 8.0, "max": 10.0},
    }, "who never ended a round is not there"
    assert result["ratios"]["to_floor"] == {OURS: 2.0, "quick": 3.636, "slow": 8.182}


@pytest.mark.parametrize(
    ("bound", "value", "holds"),
    [
        (Bound("latency", at_most=2.5), 2.2, True),
        (Bound("latency", at_most=2.1), 2.2, False),
        (Bound("latency", at_most=0.5, against=BEST), 0.55, False),
        (Bound("latency", at_most=0.5, against="slow"), 2.2 / 9, True),
        (Bound("latency", at_most=4, against=FLOOR), 2.0, True),
        (Bound("rate", at_least=1.1, against=BEST), 0.75, False),
        (Bound("rate", at_least=1.1, against="slow"), 3.0, True),
        (Bound("rate", at_least=10, over="latency"), 30 / 2.2, True),
        (Bound("rate", at_least=1, against="gone"), None, None),
        (Bound("elsewhere", at_least=1), None, None),
        (Bound("latency", at_most=0.5, before=8.8), 0.25, True),
        (Bound("rate", at_least=5, before=10), 3.0, False),
        (Bound("rate", at_least=5, before=8, of="quick"), 5.0, True),
        (Bound("rate", at_most=39, of="quick"), 40.0, False),
        (Bound("rate", at_most=1, of="gone"), None, None),
    ],
)
def test_bounds(bound: Bound, value: float | None, holds: bool | None) -> None:
    results = found(latency=latency, rate=rate)
    assert bound.value(results) == pytest.approx(value)
    assert bound.holds(results) is holds


def test_ours_in_other_circumstances_is_no_peer() -> None:
    other = Result("size", "ms", {OURS: [3.0], f"{OURS}, nearly empty": [1.0]})
    assert Bound("size", at_most=1, against=BEST).value(found(size=other)) is None
    assert Bound("size", at_most=1.3, against=f"{OURS}, nearly empty").value(found(size=other)) == 3.0


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (Bound("rate", at_least=20_000), "`rate` ≥ 20,000 jobs/s"),
        (Bound("latency", at_most=1, against=BEST), "`latency` ≤ 1 × the best peer"),
        (Bound("latency", at_most=2 / 3, before=70.5), "`latency` ≤ 0.667 × 70.5 before"),
        (Bound("latency", at_most=3_000, of="slow"), "`latency` (slow) ≤ 3,000 ms"),
    ],
)
def test_a_bound_in_words(bound: Bound, words: str) -> None:
    assert bound.words(found(latency=latency, rate=rate)) == words


def test_every_bound_has_one_side() -> None:
    assert [bound for aim in AIMS for bound in aim.bounds if (bound.at_most is None) == (bound.at_least is None)] == []


def traced(count: int) -> tuple[list[list[int]], dict[str, Any]]:
    """Events a second apart, each notified, asked, answered and started 1, 2, 3 and 4 ms after its call began."""
    seconds = [10**9 * number for number in range(1, count + 1)]
    ms = {
        name: [at + 10**6 * after for at in seconds] for after, name in enumerate(("notified", "asked", "answered"), 1)
    }
    starts = [[number, at + 4 * 10**6] for number, at in enumerate(seconds, 1)]
    return [[number, at, at + 500_000] for number, at in enumerate(seconds, 1)], {**ms, "starts": starts}


def test_each_hop_of_an_event_is_found_beside_it() -> None:
    found = split(*traced(40))
    assert {hop: set(times) for hop, times in found.items()} == {
        "update returned": {0.5}, "notified": {1.0}, "asked": {2.0}, "answered": {3.0}, "handler": {4.0},
    }  # fmt: skip
    assert len(found["handler"]) == 40


def test_an_event_that_was_taken_on_the_way_to_something_else_says_nothing() -> None:
    events, seen = traced(40)
    seen["asked"][7] = seen["notified"][7] - 1  # the timer was first
    assert len(split(events, seen)["handler"]) == 39
    seen["notified"].pop()  # and one that was never notified
    assert len(split(events, seen)["handler"]) == 38
    seen["starts"].pop(0)
    with pytest.raises(ValueError, match="3 of 40 events"):
        split(events, seen)


@pytest.mark.parametrize(("rounds", "left_out"), [(6, 0), (8, 0), (9, 1), (10, 1), (12, 2), (20, 5)])
def test_interval_of_a_median(rounds: int, left_out: int) -> None:
    """As in the tables of the sign test: with 10 figures it goes from the 2nd to the 9th, and is sure by 97.9 %."""
    assert versions.outside(rounds) == left_out


def test_figures_of_two_versions_are_compared_by_name() -> None:
    report = [{"measure": "drain.cpu", "unit": "µs/job", "rounds": {"flagpost": [3, 1, 2]}, "floor": 7}]
    assert dict(versions.numbers(report, "")) == {"drain.cpu µs/job, flagpost": 2}
    assert dict(versions.numbers({"gas": {"blocks": 3, "kind": "x"}, "is_short": True}, "")) == {"gas.blocks": 3}


def test_ratio_of_two_versions() -> None:
    row = versions.compared("blocks", [(2, 2 + n) for n in range(10)])
    assert (row["ratio"], row["from"], row["to"]) == (3.25, 1.5, 5.0)
