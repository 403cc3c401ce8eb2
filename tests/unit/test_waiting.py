"""When a look reads all jobs that wait, and when what is due is asked again."""

from pipeline.queue.due_jobs import DUE_CHECK_SECONDS, SHORTEST_NAP_SECONDS, Waiting
from pipeline.queue.flag_scan import MARGIN_SECONDS


def known(at: float, seconds: float | None = None) -> Waiting:
    """All that wait was read at ``at``."""
    waiting = Waiting()
    waiting.note(waiting.since(at), seconds, at)
    return waiting


def test_the_first_look_reads_all_and_asks() -> None:
    waiting = Waiting()
    assert waiting.since(100) is None
    assert waiting.is_to_be_asked(None)


def test_the_next_one_reads_what_fell_due_since_and_asks_nothing() -> None:
    waiting = known(100)
    since = waiting.since(105)
    assert since == 100 - MARGIN_SECONDS
    assert not waiting.is_to_be_asked(since)


def test_what_rings_while_the_tables_are_read_makes_the_next_look_read_all() -> None:
    waiting = Waiting()
    since = waiting.since(100)
    waiting.may_be_more()
    waiting.note(since, None, 100.1)
    assert waiting.since(100.2) is None


def test_all_is_read_when_a_job_falls_due_and_after_a_while_in_any_case() -> None:
    assert known(100, 3).since(102.9) is not None
    assert known(100, 3).since(103) is None
    assert known(100, -5).since(100 + SHORTEST_NAP_SECONDS) is None
    assert known(100).since(100 + DUE_CHECK_SECONDS) is None
    assert known(100, 3600).since(100 + DUE_CHECK_SECONDS) is None


def test_a_job_of_our_own_that_waits_is_asked_for_and_puts_off_nothing() -> None:
    waiting = known(100)
    for at in (104, 108):
        since = waiting.since(at)
        waiting.delayed()
        assert waiting.is_to_be_asked(since)
        waiting.note(since, 300, at)
        assert not waiting.is_to_be_asked(since)
    assert waiting.since(100 + DUE_CHECK_SECONDS) is None
    sooner = known(100)
    sooner.note(sooner.since(101), 2, 101)
    assert sooner.next_due == 103
