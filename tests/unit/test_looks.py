"""When a look at the flags is complete, and how far it reaches back otherwise."""

import math

from pipeline.queue.flag_scan import COMPLETE_SECONDS, COMPLETE_SHARE, MARGIN_SECONDS, Looks


def test_the_first_look_is_complete() -> None:
    assert Looks().reach(0) is None


def test_within_a_second_a_look_reaches_back_behind_the_last_complete_one() -> None:
    looks = Looks()
    looks.note(100, None, 100.01)
    assert looks.reach(100.5) == 0.5 + MARGIN_SECONDS
    assert looks.reach(100 + COMPLETE_SECONDS) is None


def test_short_looks_leave_a_complete_one_owed() -> None:
    looks = Looks()
    looks.note(100, None, 100.01)
    assert looks.next_owed == math.inf, "an idle process looks at nothing"
    looks.note(100.3, looks.reach(100.3), 100.4)
    assert looks.next_owed == 100 + COMPLETE_SECONDS
    looks.note(101, looks.reach(101), 101.01)
    assert looks.next_owed == math.inf


def test_short_looks_do_not_move_the_place_from_which_is_read() -> None:
    looks = Looks()
    looks.note(100, None, 100.01)
    looks.note(100.3, looks.reach(100.3), 100.4)
    assert looks.reach(100.8) == 100.8 - 100 + MARGIN_SECONDS


def test_complete_looks_that_take_long_are_rarer() -> None:
    looks = Looks()
    took = 2 * COMPLETE_SECONDS * COMPLETE_SHARE
    looks.note(100, None, 100 + took)
    assert looks.reach(100 + 1.5 * COMPLETE_SECONDS) is not None
    assert looks.reach(100 + 2 * COMPLETE_SECONDS) is None


def test_after_new_chains_or_missed_bells_the_next_look_is_complete() -> None:
    looks = Looks()
    looks.note(100, None, 100.01)
    looks.start_afresh()
    assert looks.reach(100.1) is None


def test_a_look_that_was_under_way_when_chains_came_does_not_count() -> None:
    looks = Looks()
    reach = looks.reach(100)
    looks.start_afresh()
    looks.note(100, reach, 100.1)
    assert looks.reach(100.2) is None
