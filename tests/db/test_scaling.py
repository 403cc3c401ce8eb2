"""Auto-scaling: one decision from numbers, what the database decides by its rows, and a day of load."""

import asyncio
import itertools
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.db.pool import Connection
from pipeline.workers.sweep import Sweep
from tests.db.money import new_job
from tests.db.sessions import rows, second_session, value
from tests.db.test_registry import register, worker
from tests.db.worker_kit import PATIENCE, configure, running
from tests.seed import Chain, add_wallets

STEP = "SELECT wanted, reason FROM scaling_step(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
RULES = (1, 10, 50, 2, 5, 1, timedelta(seconds=300))
"""The defaults: fewest, most, up above, up by, down below, down by, cooldown."""
SCALE = "SELECT type, workers, wanted FROM scale_by_load()"
LATER = "SELECT wanted FROM scale_by_load(clock_timestamp() + interval '301 s')"


async def step(connection: Connection, depth: int, workers: int, since: timedelta | None) -> tuple[int, str]:
    ((wanted, reason),) = await rows(connection, STEP, depth, workers, since, *RULES)
    return wanted, reason


async def due(connection: Connection, chain: Chain, count: int) -> None:
    """So many gas-topup jobs that are due."""
    wallets = await add_wallets(connection, chain, count)
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address)"
        " SELECT 'load-' || w.id, 'gas-topup', 'pending', w.address FROM wallets w WHERE w.id = ANY (%s)",
        [[wallet.id for wallet in wallets]],
    )


@pytest.fixture
async def engine(connection: Connection, tron: Chain) -> None:
    await configure(connection, scaling__engine="agent")
    await register(connection, worker("gas-topup"))


class TestAStep:
    @pytest.mark.parametrize(
        ("depth", "workers", "since", "wanted", "reason"),
        [
            (51, 1, None, 3, "51 jobs are due, more than 50"),
            (50, 1, None, 1, "50 jobs are due, between 5 and 50"),
            (4, 3, None, 2, "4 jobs are due, fewer than 5"),
            (5, 3, None, 3, "5 jobs are due, between 5 and 50"),
            (51, 9, None, 10, "51 jobs are due, more than 50"),
            (900, 10, None, 10, "900 jobs are due, and 10 workers are the most"),
            (0, 1, None, 1, "0 jobs are due, and 1 workers are the fewest"),
            (900, 1, timedelta(seconds=299), 1, "changed 299 s ago, scaling.cooldown_seconds are 300"),
            (900, 1, timedelta(seconds=300), 3, "900 jobs are due, more than 50"),
            (900, 1, timedelta(days=-400), 3, "900 jobs are due, more than 50"),
            (0, 0, timedelta(seconds=1), 1, "fewer than scaling.min_workers (1)"),
            (900, 12, timedelta(seconds=1), 10, "more than scaling.max_workers (10)"),
        ],
    )
    async def test_is(
        self, connection: Connection, depth: int, workers: int, since: timedelta | None, wanted: int, reason: str
    ) -> None:
        assert await step(connection, depth, workers, since) == (wanted, reason)

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        depth=st.integers(0, 100_000),
        workers=st.integers(0, 200),
        seconds=st.integers(-1_000_000, 1_000_000),
        bounds=st.tuples(st.integers(1, 200), st.integers(1, 200)).map(sorted),
        up=st.integers(1, 100),
        down=st.integers(1, 100),
    )
    def test_keeps_bounds_and_cooldown(
        self, database: str, depth: int, workers: int, seconds: int, bounds: list[int], up: int, down: int
    ) -> None:
        fewest, most = bounds
        since = timedelta(seconds=seconds)
        with psycopg.connect(database) as session:
            row = session.execute(
                STEP, [depth, workers, since, fewest, most, 50, up, 5, down, timedelta(seconds=300)]
            ).fetchone()
        assert row is not None
        wanted, reason = row
        assert reason
        assert fewest <= wanted <= most
        if fewest <= workers <= most:
            assert -down <= wanted - workers <= up
            if -300 < seconds < 300:
                assert wanted == workers


class TestTheDatabase:
    async def test_adds_workers_and_says_why(self, connection: Connection, tron: Chain, engine: None) -> None:
        await due(connection, tron, 60)
        assert await rows(connection, SCALE) == [("gas-topup", 1, 3)]
        assert await rows(connection, SCALE) == [], "the cooldown"
        ((action, target, details),) = await rows(
            connection,
            "SELECT action_type, target_id, details FROM admin_actions WHERE action_type = 'workers.autoscale'",
        )
        assert (action, target) == ("workers.autoscale", "gas-topup")
        assert {name: details[name] for name in ("before", "after", "depth", "reason")} == {
            "before": 1,
            "after": 3,
            "depth": 60,
            "reason": "60 jobs are due, more than 50",
        }
        assert await value(connection, "SELECT desired_workers('gas-topup')") == 3

    async def test_takes_them_away_one_by_one(self, connection: Connection, tron: Chain, engine: None) -> None:
        await connection.execute(
            "INSERT INTO worker_targets (type, workers, set_at) VALUES ('gas-topup', 3, '2020-01-01')"
        )
        assert await rows(connection, SCALE) == [("gas-topup", 3, 2)]
        assert await rows(connection, LATER) == [(1,)]
        assert await rows(connection, "SELECT wanted FROM scale_by_load(clock_timestamp() + interval '1 h')") == []

    async def test_goes_on_from_what_a_person_set(self, connection: Connection, tron: Chain, engine: None) -> None:
        await due(connection, tron, 60)
        await connection.execute("INSERT INTO worker_targets (type, workers) VALUES ('gas-topup', 6)")
        assert await rows(connection, SCALE) == [], "as after every change"
        assert await rows(connection, "SELECT wanted FROM scale_by_load(clock_timestamp() + interval '301 s')") == [
            (8,)
        ]

    async def test_counts_what_a_worker_could_take(self, connection: Connection, tron: Chain, engine: None) -> None:
        await due(connection, tron, 60)
        depth = "SELECT depth FROM scaling_decisions()"
        assert await value(connection, depth) == 60
        await connection.execute("UPDATE job_logs SET run_at = now() + interval '1 h' WHERE seq % 2 = 0")
        assert await value(connection, depth) == 30
        (wallet,) = await add_wallets(connection, tron, 1)
        await new_job(connection, wallet, status="active")
        assert await value(connection, depth) == 30

    async def test_counts_the_chains_of_each_group(self, connection: Connection, tron: Chain, engine: None) -> None:
        await due(connection, tron, 60)
        await register(connection, worker("gas-topup", blockchain="bsc"))
        found = "SELECT blockchain, depth FROM scaling_decisions()"
        assert await rows(connection, found) == [("", 60), ("bsc", 0)]
        await register(connection, worker("gas-topup", blockchain="tron"))
        assert await rows(connection, found) == [("", 0), ("bsc", 0), ("tron", 60)]

    async def test_does_nothing_while_it_is_off_or_the_system_is_paused(
        self, connection: Connection, tron: Chain, engine: None
    ) -> None:
        await due(connection, tron, 60)
        await configure(connection, paused=True)
        assert await rows(connection, SCALE) == []
        assert await value(connection, "SELECT reason FROM scaling_decisions()") == "the system is paused"
        await configure(connection, paused=False, scaling__engine="off")
        assert await rows(connection, SCALE) == []
        assert await value(connection, "SELECT wanted FROM scaling_decisions()") == 3, "what it would do can be read"

    async def test_obeys_its_settings(self, connection: Connection, tron: Chain, engine: None) -> None:
        await due(connection, tron, 8)
        await configure(connection, scaling={"engine": "keda", "up_above": 7, "up_by": 4, "max_workers": 4})
        await connection.execute("DELETE FROM system_config WHERE key = 'scaling.engine'")
        assert await rows(connection, SCALE) == [("gas-topup", 1, 4)]

    async def test_two_at_once_change_it_once(
        self, connection: Connection, database: str, tron: Chain, engine: None
    ) -> None:
        await due(connection, tron, 60)
        async with second_session(database) as one, second_session(database) as other:
            changes = await asyncio.gather(rows(one, SCALE), rows(other, SCALE))
        assert sorted(changes, key=len) == [[], [("gas-topup", 1, 3)]]

    async def test_is_asked_by_the_sweep_that_leads(
        self, connection: Connection, database: str, tron: Chain, engine: None
    ) -> None:
        await due(connection, tron, 60)
        async with running(Sweep(), database), asyncio.timeout(PATIENCE):
            while await rows(connection, "SELECT workers, set_by FROM worker_targets") != [(3, "scaling")]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


# -- a day

MINUTES = 24 * 60
RATE = 40.0
"""Jobs that one worker does in a minute: one that waits for slow nodes."""
EVERY = 15
"""Seconds between two evaluations (``autoscale.EVALUATE_SECONDS``)."""


def load(minute: int) -> float:
    """Jobs that fall due in a minute: a day's wave, a quiet night, and three bursts of ten minutes."""
    wave = 60 * max(0.0, math.sin(math.pi * (minute / 60 - 6) / 16)) if 6 <= minute / 60 <= 22 else 2.0
    burst = 400 if any(start <= minute < start + 10 for start in (9 * 60, 13 * 60, 20 * 60)) else 0
    return wave + burst


def day(decide: Callable[[int, int, timedelta | None], int], workers: int = 1) -> dict[str, Any]:
    """What a day comes to where ``decide`` gives the number of workers by depth, number and the age of the number."""
    depth, changed_at, hours, longest = 0.0, None, 0.0, 0.0
    changes: list[tuple[float, int]] = []
    for turn in range(MINUTES * 60 // EVERY):
        now = turn * EVERY
        depth = max(0.0, depth + (load(now // 60) - RATE * workers) * EVERY / 60)
        longest = max(longest, depth / (RATE * workers))
        hours += workers * EVERY / 3600
        since = None if changed_at is None else timedelta(seconds=now - changed_at)
        wanted = decide(int(depth), workers, since)
        if wanted != workers:
            changes.append((now, wanted - workers))
            workers, changed_at = wanted, now
    return {"hours": hours, "longest": longest, "changes": changes, "workers": workers}


async def test_a_day_of_load(database: str, connection: Connection) -> None:
    """Beside one worker and ten that never change; the decisions are the database's."""
    with psycopg.connect(database) as session:

        def decide(depth: int, workers: int, since: timedelta | None) -> int:
            row = session.execute(STEP, [depth, workers, since, *RULES], prepare=True).fetchone()
            assert row is not None
            return int(row[0])

        scaled = await asyncio.to_thread(day, decide)
    one, ten = day(lambda *_: 1), day(lambda *_: 10, workers=10)
    for name, of in (("one worker", one), ("scaled", scaled), ("ten workers", ten)):
        print(  # noqa: T201 - read by who writes docs/operating.md
            f"{name}: {of['hours']:.0f} worker hours, longest wait {of['longest']:.1f} min, "
            f"{len(of['changes'])} changes"
        )
    assert scaled["hours"] < ten["hours"] / 2
    assert scaled["longest"] < one["longest"] / 4
    times = [at for at, _ in scaled["changes"]]
    assert all(later - earlier >= 300 for earlier, later in itertools.pairwise(times))
    assert scaled["workers"] == 1, "the night leaves the fewest"
