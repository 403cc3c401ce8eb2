"""When a process that has ended is started again, and when no more."""

from pipeline.scaling.restarts import FAST_SECONDS, LONGEST_PAUSE, MOST_FAST, Restarts


def test_one_that_worked_is_started_again_at_once() -> None:
    restarts = Restarts()
    assert restarts.ended(100.0, 100.0 + FAST_SECONDS) == 0
    assert restarts.not_before == 0


def test_pauses_double_up_to_a_minute_where_nobody_gives_up() -> None:
    restarts = Restarts(gives_up=False)
    assert [restarts.ended(0.0, 1.0) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert restarts.not_before == 1 + LONGEST_PAUSE
    assert not restarts.given_up


def test_the_fifth_fast_end_in_a_row_is_the_last() -> None:
    restarts = Restarts()
    for _ in range(MOST_FAST - 1):
        restarts.ended(0.0, 1.0)
    assert not restarts.given_up
    restarts.ended(0.0, 1.0)
    assert restarts.given_up
    restarts.reset()
    assert not restarts.given_up
    assert restarts.not_before == 0


def test_one_that_worked_in_between_begins_the_count_anew() -> None:
    restarts = Restarts()
    for _ in range(MOST_FAST - 1):
        restarts.ended(0.0, 1.0)
    restarts.ended(0.0, FAST_SECONDS)
    assert restarts.ended(0.0, 1.0) == 1


def test_what_was_told_to_end_counts_for_nothing() -> None:
    restarts = Restarts()
    assert [restarts.ended(0.0, 0.1, as_told=True) for _ in range(MOST_FAST)] == [0] * MOST_FAST
    assert not restarts.given_up
