"""What is written for an outcome, and how long the next attempt waits."""

import json
from datetime import UTC, datetime
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.queue.jobs import Defer, Done, Failed, Job, JobType, Parked, Retry, TriggeredBy
from pipeline.queue.queue import OutcomeRow, outcome_row
from pipeline.queue.retries import Backoff

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def job(*, retry_count: int = 0, max_retries: int = 3, **data: object) -> Job:
    counts = {"lease": 1, "retry_count": retry_count, "max_retries": max_retries}
    place = {"wallet_id": 1, "wallet_address": "T1", "chain_id": 1}
    return Job(
        id=uuid4(),
        job_id="gas-topup-1",
        job_type=JobType.GAS_TOPUP,
        triggered_by=TriggeredBy.EVENT,
        json=json.dumps(data),
        **counts,
        **place,  # type: ignore[arg-type]
    )


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_waits_are_bounded(failures: int, chance: float) -> None:
    backoff = Backoff(base_seconds=5, cap_seconds=300)
    assert 2.5 <= backoff.delay(failures, chance) <= 300


@given(chance=st.floats(0, 1, exclude_max=True))
def test_waits_double_until_the_cap(chance: float) -> None:
    waits = [Backoff(5, 300).delay(failures, chance) for failures in range(1, 9)]
    for shorter, longer in pairwise(waits[:6]):
        assert longer == pytest.approx(2 * shorter)
    assert waits[6] == waits[7]


def test_jitter_spreads_by_half() -> None:
    assert Backoff(8, 300).delay(1, 0) == 4
    assert {Backoff(8, 300).delay(1) for _ in range(50)} != {Backoff(8, 300).delay(1)}


def test_what_is_written() -> None:
    backoff = Backoff()
    assert outcome_row(job(), Parked(), backoff) is None
    assert outcome_row(job(), Done({"a": "1"}, clear_flag=True), backoff) == OutcomeRow(
        "completed", data={"a": "1"}, clear_flag=True
    )
    assert outcome_row(job(), Defer(-3, "why"), backoff) == OutcomeRow("pending", error="why", delay_seconds=0.0)
    assert outcome_row(job(), Failed("no"), backoff) == OutcomeRow("failed", error="no", failed_attempts=1)


@given(retry_count=st.integers(0, 5), max_retries=st.integers(0, 5))
def test_so_many_attempts_and_no_more(retry_count: int, max_retries: int) -> None:
    written = outcome_row(job(retry_count=retry_count, max_retries=max_retries), Retry("down"), Backoff())
    assert written is not None
    assert written.failed_attempts == 1
    assert written.status == ("retrying" if retry_count + 1 < max_retries else "failed")
    assert (written.delay_seconds is None) == (written.status == "failed")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2025-01-01T00:00:00+00:00", NOW), ("soon", None), (17, None), (None, None), (["x"], None)],
)
def test_flagged_at_is_read_from_what_anybody_may_have_written(value: object, expected: datetime | None) -> None:
    assert job(flagged_at=value).flagged_at == expected
    assert job().flagged_at is None
