"""Auto-scaling: one decision from numbers, and what the database decides by its rows. A day: ``test_scaling_day``."""

import asyncio
from datetime import timedelta

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

    async def test_leaves_the_number_alone_that_somebody_is_setting(
        self, connection: Connection, database: str, tron: Chain, engine: None
    ) -> None:
        await due(connection, tron, 60)
        await connection.execute("SET lock_timeout = '1s'")
        async with second_session(database) as person:
            async with person.transaction():
                await person.execute("INSERT INTO worker_targets (type, workers) VALUES ('gas-topup', 2)")
                assert await rows(connection, SCALE) == [], "it does not wait, and does not write over it"
            assert await rows(connection, SCALE) == [], "the cooldown of what was set"
        assert await rows(connection, LATER) == [(4,)]

    async def test_starts_nothing_where_a_person_has_set_none(
        self, connection: Connection, tron: Chain, engine: None
    ) -> None:
        await due(connection, tron, 60)
        await connection.execute("INSERT INTO worker_targets (type, workers) VALUES ('gas-topup', 0)")
        assert await rows(connection, LATER) == []
        assert await value(connection, "SELECT desired_workers('gas-topup')") == 0
        await connection.execute("UPDATE worker_targets SET workers = 1")
        assert await rows(connection, LATER) == [(3,)]

    async def test_brings_a_number_back_into_the_bounds(
        self, connection: Connection, tron: Chain, engine: None
    ) -> None:
        await connection.execute("INSERT INTO worker_targets (type, workers) VALUES ('gas-topup', 12)")
        assert await rows(connection, SCALE) == [("gas-topup", 12, 10)]

    @pytest.mark.parametrize(
        "row",
        [
            ("scaling.max_workers", "500"),
            ("scaling.max_workers", "1e12"),
            ("scaling.max_workers", '"many"'),
            ("scaling.up_by", "-3"),
            ("scaling.cooldown_seconds", "1e300"),
            ("scaling", '{"engine": "agent", "min_workers": 1e9}'),
            ("scaling", "[]"),
        ],
    )
    async def test_takes_no_setting_that_cannot_be(
        self, connection: Connection, tron: Chain, engine: None, row: tuple[str, str]
    ) -> None:
        """Written in psql, past flagpost config set: an error would end the sweep."""
        await due(connection, tron, 60)
        await connection.execute("INSERT INTO system_config (key, value) VALUES (%s, %s)", row)
        assert await rows(connection, SCALE) == [("gas-topup", 1, 3)]
        await connection.execute("UPDATE worker_targets SET set_at = '2020-01-01', workers = 9")
        assert await rows(connection, SCALE) == [("gas-topup", 9, 10)]

    async def test_counts_nothing_of_a_chain_that_is_off_or_that_waits_for_it(
        self, connection: Connection, tron: Chain, engine: None
    ) -> None:
        await due(connection, tron, 60)
        depth = "SELECT depth FROM scaling_decisions()"
        await connection.execute(
            "UPDATE job_logs SET status = 'active', lease = 1, awaiting_chain = true WHERE seq % 3 = 0"
        )
        assert await value(connection, depth) == 40
        await connection.execute("UPDATE chains SET is_active = false")
        assert await value(connection, depth) == 0

    async def test_knows_the_same_chains_in_any_order(self, connection: Connection, tron: Chain, engine: None) -> None:
        """As the slots do (``slot_prefix``): two numbers for the same slots would each be brought about."""
        await due(connection, tron, 60)
        await register(connection, worker("gas-topup", blockchain="tron,bsc"))
        await register(connection, worker("gas-topup", blockchain="bsc,tron"))
        assert await rows(connection, "SELECT blockchain, depth, workers FROM scaling_decisions()") == [
            ("", 0, 1),
            ("bsc,tron", 60, 2),
        ]
        await connection.execute(
            "INSERT INTO worker_targets (type, blockchain, workers, set_at)"
            " VALUES ('gas-topup', 'tron, bsc', 5, '2020-01-01')"
        )
        assert await rows(connection, "SELECT blockchain, wanted FROM scale_by_load()") == [("tron, bsc", 7)]
        assert await value(connection, "SELECT desired_workers('gas-topup', 'bsc,tron')") == 7

    async def test_begins_with_the_workers_that_no_host_has_a_number_of_its_own_for(
        self, connection: Connection, tron: Chain, engine: None
    ) -> None:
        await register(connection, worker("gas-topup", host="large"))
        await connection.execute("INSERT INTO worker_targets (type, host, workers) VALUES ('gas-topup', 'large', 1)")
        assert await rows(connection, "SELECT workers FROM scaling_decisions()") == [(1,)]

    async def test_notifies_who_starts_and_ends_them(
        self, connection: Connection, database: str, tron: Chain, engine: None
    ) -> None:
        await due(connection, tron, 60)
        async with second_session(database) as agent:
            await agent.execute("LISTEN workers")
            assert await rows(connection, SCALE) == [("gas-topup", 1, 3)]
            notified = [notify.channel async for notify in agent.notifies(timeout=PATIENCE, stop_after=1)]
        assert notified == ["workers"]

    @pytest.mark.parametrize("role", ["pipeline_readonly", "pipeline_web"])
    async def test_can_be_read_and_not_carried_out(
        self, connection: Connection, tron: Chain, engine: None, role: str
    ) -> None:
        await due(connection, tron, 60)
        await connection.execute(f"SET ROLE {role}")
        try:
            assert await value(connection, "SELECT wanted FROM scaling_decisions()") == 3
            assert await value(connection, "SELECT desired_workers('gas-topup')") == 1
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await rows(connection, SCALE)
        finally:
            await connection.execute("RESET ROLE")

    async def test_is_asked_by_the_sweep_that_leads(
        self, connection: Connection, database: str, tron: Chain, engine: None
    ) -> None:
        await due(connection, tron, 60)
        async with running(Sweep(), database), asyncio.timeout(PATIENCE):
            while await rows(connection, "SELECT workers, set_by FROM worker_targets") != [(3, "scaling")]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_no_others_are_started_where_all_were_told_to_stop(
    connection: Connection, engine: None, tron: Chain
) -> None:
    """Also where that leaves chains without a worker: those of the same type that serve all chains go on."""
    await due(connection, tron, 60)
    await register(connection, worker("gas-topup", blockchain="tron"))
    await connection.execute("SELECT control_worker('tron-gas-topup-001', 'stop')")
    assert await rows(connection, "SELECT blockchain, depth, workers, wanted FROM scaling_decisions()") == [
        ("", 60, 1, 3),
        ("tron", 60, 0, 0),
    ]
    await connection.execute("SELECT control_worker('all-gas-topup-001', 'stop')")
    assert await rows(connection, SCALE) == []
    assert await value(connection, "SELECT count(*) FROM worker_targets") == 0
    await connection.execute("SELECT control_worker('all-gas-topup-001', 'start')")
    assert await rows(connection, SCALE) == [("gas-topup", 1, 3)]
