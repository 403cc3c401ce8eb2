"""The queue against a real database: who gets a job, what becomes of it, and what two workers cannot both have."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from pipeline.config import QueueConfig
from pipeline.db.pool import Connection
from pipeline.queue.jobs import Defer, Done, Failed, JobType, Parked, Retry, TriggeredBy
from pipeline.queue.schedule import Scan
from tests.db.worker_kit import flag, jobs, queue_of, rows, statuses
from tests.patience import PATIENCE
from tests.seed import USDT, Chain, add_wallets, set_balance

GAS = JobType.GAS_TOPUP
TOKENS = JobType.CONSOLIDATION
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def typed(connection: Connection, job_id: str, wallet: str, **columns: object) -> None:
    """A job as an operator types it."""
    values = {"job_id": job_id, "job_type": "gas-topup", "status": "pending", "wallet_address": wallet, **columns}
    insert = sql.SQL("INSERT INTO job_logs ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join([sql.Placeholder()] * len(values))
    )
    await connection.execute(insert, list(values.values()))


async def test_a_flag_becomes_an_active_job_in_one_round_trip(
    connection: Connection, database: str, tron: Chain
) -> None:
    first, second = await add_wallets(connection, tron, 2)
    await flag(connection, first.id)
    async with queue_of(database) as queue:
        (job,) = await queue.enqueue_and_claim(GAS, 10)
    assert (job.wallet_id, job.wallet_address, job.chain_id) == (first.id, first.address, tron.id)
    assert (job.lease, job.retry_count, job.max_retries, job.triggered_by) == (1, 0, 3, TriggeredBy.EVENT)
    (row,) = await jobs(connection)
    assert row["status"] == "active"
    assert row["job_id"] == f"gas-topup-{row['seq']}" == job.job_id
    assert row["leased_by"] == queue.worker_id
    assert timedelta(seconds=110) < row["lease_deadline"] - row["started_at"] < timedelta(seconds=130)
    (wallet,) = await rows(connection, "SELECT needs_gas_since FROM wallets WHERE id = %s", first.id)
    assert job.flagged_at == wallet["needs_gas_since"]
    assert 0 <= row["data"]["wait_ms"] < 60_000
    assert second.id not in {row["wallet_id"] for row in await jobs(connection)}


async def test_beyond_the_capacity_flagged_wallets_wait_in_the_queue(
    connection: Connection, database: str, tron: Chain
) -> None:
    await flag(connection, *[wallet.id for wallet in await add_wallets(connection, tron, 7)])
    async with queue_of(database, config=QueueConfig(enqueue_batch=5)) as queue:
        held = await queue.enqueue_and_claim(GAS, 3)
        assert len(held) == 3
        assert await statuses(connection) == {"active": 3, "pending": 2}
        # Those that wait come first, in the order of their flags; only then are flags read again.
        more = await queue.enqueue_and_claim(GAS, 2)
        assert len({job.wallet_id for job in held + more}) == 5
        assert await statuses(connection) == {"active": 5}
        assert len(await queue.enqueue_and_claim(GAS, 10)) == 2
        assert await queue.enqueue_and_claim(GAS, 10) == []


async def test_one_live_job_per_wallet_and_type_whoever_inserts(
    connection: Connection, database: str, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await typed(connection, "by-hand", wallet.address)
    with pytest.raises(psycopg.errors.UniqueViolation, match="one_live_job"):
        await typed(connection, "by-hand-again", wallet.address)
    await flag(connection, wallet.id)
    async with queue_of(database) as queue:
        assert (await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=20)).jobs == 0
        (job,) = await queue.enqueue_and_claim(GAS, 5)
        assert job.job_id == "by-hand"
        assert await queue.enqueue_and_claim(GAS, 5) == []
    # Another type of the same wallet is free.
    await typed(connection, "tokens", wallet.address, job_type="consolidation")


async def test_many_at_once_enqueue_every_wallet_exactly_once(
    connection: Connection, database: str, tron: Chain
) -> None:
    wallets = await add_wallets(connection, tron, 300)
    await flag(connection, *[wallet.id for wallet in wallets])
    async with queue_of(database) as one, queue_of(database) as two:
        claims = [queue.enqueue_and_claim(GAS, 40) for queue in (one, two) * 3]
        sweeps = [queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=50) for queue in (one, two)]
        done = await asyncio.gather(*claims, *sweeps)
    claimed = [job.wallet_id for batch in done[:6] for job in batch]  # type: ignore[union-attr]
    assert len(claimed) == len(set(claimed))
    found = await jobs(connection)
    assert len(found) == 300
    assert {row["wallet_id"] for row in found} == {wallet.id for wallet in wallets}


async def test_gas_comes_before_consolidation(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id, gas=True, tokens=True)
    async with queue_of(database) as queue:
        assert await queue.enqueue_and_claim(TOKENS, 5) == []
        (gas,) = await queue.enqueue_and_claim(GAS, 5)
        await queue.finish([(gas, Done(clear_flag=True))])
        (tokens,) = await queue.enqueue_and_claim(TOKENS, 5)
    assert tokens.wallet_id == wallet.id
    assert tokens.flagged_at is not None
    assert gas.flagged_at is not None
    assert tokens.flagged_at > gas.flagged_at, "it became ready when needs_gas fell"


async def test_priority_then_run_at_then_arrival(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 5)
    now = datetime.now(UTC)
    for name, wallet, priority, age in zip(
        ("low", "normal-young", "normal-old", "high", "later"),
        wallets,
        (-10, 0, 0, 10, 10),
        (9, 1, 5, 1, -60),
        strict=True,
    ):
        await typed(connection, name, wallet.address, priority=priority, run_at=now - timedelta(seconds=age))
    async with queue_of(database) as queue:
        order = [(await queue.claim(GAS, 1))[0].job_id for _ in range(4)]
        assert await queue.claim(GAS, 1) == []
    assert order == ["high", "normal-old", "normal-young", "low"]


async def test_inactive_and_foreign_chains_are_left_alone(connection: Connection, database: str, tron: Chain) -> None:
    here, there = await add_wallets(connection, tron, 2)
    await flag(connection, here.id)
    await typed(connection, "by-hand", there.address)
    async with queue_of(database, chain_ids=[tron.id + 1]) as other, queue_of(database) as queue:
        assert await other.enqueue_and_claim(GAS, 5) == []
        assert await other.next_due(GAS) is None
        await connection.execute("UPDATE chains SET is_active = false")
        assert await queue.enqueue_and_claim(GAS, 5) == []
        assert (await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=20)).jobs == 0
        assert await queue.next_due(GAS) is None
        await connection.execute("UPDATE chains SET is_active = true")
        assert {job.wallet_id for job in await queue.enqueue_and_claim(GAS, 5)} == {here.id, there.id}


async def test_a_mixed_batch_of_outcomes(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 6)
    await flag(connection, *[wallet.id for wallet in wallets])
    async with queue_of(database) as queue:
        held = await queue.enqueue_and_claim(GAS, 6)
        done, retry, defer, failed, parked, silent = held
        await connection.execute(
            "UPDATE job_logs SET awaiting_chain = true, leased_by = NULL, lease_deadline = NULL WHERE id = %s",
            [parked.id],
        )
        ours = await queue.finish(
            [
                (done, Done({"outcome": "skipped", "balance": "12"}, clear_flag=True)),
                (retry, Retry("node down")),
                (defer, Defer(30, "gas wallet is short")),
                (failed, Failed("not a token")),
                (parked, Parked()),
            ]
        )
    assert ours == {job.id for job in held} - {silent.id}
    found = {row["id"]: row for row in await jobs(connection)}

    row = found[done.id]
    assert (row["status"], row["error_message"], row["retry_count"]) == ("completed", None, 0)
    assert row["data"]["outcome"] == "skipped"
    assert row["data"]["duration_ms"] >= 0
    assert {"flagged_at", "wait_ms"} <= row["data"].keys()
    assert row["completed_at"] is not None

    row = found[retry.id]
    assert (row["status"], row["error_message"], row["retry_count"]) == ("retrying", "node down", 1)
    assert [entry["error"] for entry in row["data"]["history"]] == ["node down"]
    assert timedelta(seconds=2) < row["run_at"] - datetime.now(UTC) < timedelta(seconds=5)
    assert row["leased_by"] is None

    row = found[defer.id]
    assert (row["status"], row["error_message"], row["retry_count"]) == ("pending", "gas wallet is short", 0)
    assert timedelta(seconds=25) < row["run_at"] - datetime.now(UTC) < timedelta(seconds=31)
    assert "history" not in row["data"]

    row = found[failed.id]
    assert (row["status"], row["error_message"], row["retry_count"]) == ("failed", "not a token", 1)
    assert found[parked.id]["status"] == found[silent.id]["status"] == "active"
    flagged = await rows(connection, "SELECT id FROM wallets WHERE needs_gas ORDER BY id")
    assert [row["id"] for row in flagged] == sorted(job.wallet_id for job in held if job != done)


async def test_a_lost_lease_changes_nothing(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id)
    async with queue_of(database) as slow, queue_of(database) as quick:
        (late,) = await slow.enqueue_and_claim(GAS, 1)
        await connection.execute("UPDATE job_logs SET lease_deadline = now() - interval '1 second'")
        assert len(await rows(connection, "SELECT * FROM rescue_jobs('60 seconds', '60 seconds')")) == 1
        assert await slow.finish([(late, Done({"outcome": "late"}, clear_flag=True))]) == frozenset()
        (again,) = await quick.claim(GAS, 1)
        assert (again.id, again.lease, again.retry_count) == (late.id, 2, 1)
        assert await slow.finish([(late, Failed("late"))]) == frozenset()
        assert await slow.hand_back([late]) == frozenset()
        (row,) = await jobs(connection)
        assert (row["status"], row["lease"], row["leased_by"]) == ("active", 2, quick.worker_id)
        assert await quick.finish([(again, Done())]) == {again.id}
    (row,) = await rows(connection, "SELECT needs_gas FROM wallets")
    assert row["needs_gas"], "the late attempt did not clear the flag either"


async def test_retries_end_in_a_dead_letter_which_rests(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id)
    async with queue_of(database) as queue:
        for attempt in range(3):
            await connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'retrying'")
            (job,) = await queue.enqueue_and_claim(GAS, 1)
            assert (job.retry_count, job.lease) == (attempt, attempt + 1)
            await queue.finish([(job, Retry(f"failure {attempt + 1}"))])
        (row,) = await jobs(connection)
        assert (row["status"], row["retry_count"]) == ("failed", 3)
        assert [entry["error"] for entry in row["data"]["history"]] == ["failure 1", "failure 2", "failure 3"]

        # The flag is still up, and the wallet rests …
        assert await queue.enqueue_and_claim(GAS, 1) == []
        assert (await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=20)).jobs == 0
        # … until the flag rises anew,
        await flag(connection, wallet.id, gas=False)
        await flag(connection, wallet.id)
        (job,) = await queue.enqueue_and_claim(GAS, 1)
        await queue.finish([(job, Failed("poisoned"))])
        assert await queue.enqueue_and_claim(GAS, 1) == []
        # … or the quiet period is over; the sweep knows that nobody had overlooked it.
        queue.config = QueueConfig(quiet_seconds=0)
        found = await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=20)
    assert (found.jobs, found.after_failure) == (1, 1)


async def test_done_keeps_the_flag_if_a_balance_changed_meanwhile(
    connection: Connection, database: str, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id, gas=False, tokens=True)
    async with queue_of(database) as queue:
        (job,) = await queue.enqueue_and_claim(TOKENS, 1)
        await set_balance(connection, wallet, tron.token_id, 300 * USDT)
        # The next job comes in the same exchange: the change that arrived mid-run is not lost.
        exchange = await queue.exchange([(job, Done(clear_flag=True))], TOKENS, 1, Scan(TriggeredBy.SYSTEM))
        assert exchange.finished == {job.id}
        (again,) = exchange.claimed
        assert again.id != job.id
        exchange = await queue.exchange([(again, Done(clear_flag=True))], TOKENS, 1, Scan(TriggeredBy.SYSTEM))
        assert exchange.claimed == []
    (row,) = await rows(connection, "SELECT needs_consolidation FROM wallets")
    assert not row["needs_consolidation"]


async def test_a_flag_that_rose_again_meanwhile_stays(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id)
    async with queue_of(database) as queue:
        (job,) = await queue.enqueue_and_claim(GAS, 1)
        await flag(connection, wallet.id, gas=False)
        await flag(connection, wallet.id)
        exchange = await queue.exchange([(job, Done(clear_flag=True))], GAS, 1)
        assert len(exchange.claimed) == 1


async def test_a_balance_committed_while_the_flag_is_cleared_is_not_lost(
    connection: Connection, database: str, tron: Chain
) -> None:
    """The sync has written a new balance but not committed when the job ends: the end waits for it, and sees it."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id, gas=False, tokens=True)
    async with queue_of(database) as queue, await psycopg.AsyncConnection.connect(database) as sync:
        (job,) = await queue.enqueue_and_claim(TOKENS, 1)
        await set_balance(sync, wallet, tron.token_id, 300 * USDT)
        ending = asyncio.create_task(queue.finish([(job, Done(clear_flag=True))]))
        async with asyncio.timeout(PATIENCE):
            while not await rows(connection, WAITING):
                assert not ending.done()
        await sync.commit()
        assert await ending == {job.id}
    (row,) = await rows(connection, "SELECT needs_consolidation FROM wallets")
    assert row["needs_consolidation"]


async def test_hand_back_uses_up_no_attempt(connection: Connection, database: str, tron: Chain) -> None:
    await flag(connection, *[wallet.id for wallet in await add_wallets(connection, tron, 3)])
    async with queue_of(database) as one, queue_of(database) as two:
        held = await one.enqueue_and_claim(GAS, 3)
        assert await one.hand_back(held[:2]) == {job.id for job in held[:2]}
        taken = await two.claim(GAS, 3)
        assert {job.id for job in taken} == {job.id for job in held[:2]}
        assert {(job.lease, job.retry_count) for job in taken} == {(2, 0)}


async def test_jobs_of_a_lost_reply_are_given_back(connection: Connection, database: str, tron: Chain) -> None:
    await flag(connection, *[wallet.id for wallet in await add_wallets(connection, tron, 4)])
    async with queue_of(database) as queue:
        held = await queue.enqueue_and_claim(GAS, 2)
        unheard = await queue.enqueue_and_claim(GAS, 2)
        assert await queue.release_unheld(held) == {job.id for job in unheard}
        assert await statuses(connection) == {"active": 2, "pending": 2}


@pytest.mark.parametrize("never", ["infinity", "-infinity"])
async def test_a_job_is_due_at_a_time(connection: Connection, tron: Chain, never: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    with pytest.raises(psycopg.errors.CheckViolation, match="times_are_between_1970_and_2100"):
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, wallet_address, run_at) VALUES ('mine', 'gas-topup', %s, %s)",
            [wallet.address, never],
        )


async def test_next_due(connection: Connection, database: str, tron: Chain) -> None:
    first, second, third = await add_wallets(connection, tron, 3)
    async with queue_of(database) as queue:
        assert await queue.next_due(GAS) is None
        now = datetime.now(UTC)
        await typed(connection, "later", first.address, run_at=now + timedelta(seconds=90), priority=10)
        await typed(connection, "sooner", second.address, run_at=now + timedelta(seconds=40), priority=-3)
        await typed(connection, "tokens", third.address, job_type="consolidation")
        due = await queue.next_due(GAS)
        assert due is not None
        assert 30 < due < 41
        due = await queue.next_due(TOKENS)
        assert due is not None
        assert due <= 0


async def test_young_flags_are_left_to_their_listener(connection: Connection, database: str, tron: Chain) -> None:
    old, young = await add_wallets(connection, tron, 2)
    await flag(connection, old.id, young.id)
    await connection.execute("ALTER TABLE wallets DISABLE TRIGGER ALL")
    await connection.execute("UPDATE wallets SET needs_gas_since = now() - interval '1 minute' WHERE id = %s", [old.id])
    async with queue_of(database) as queue:
        assert (await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP, min_age_seconds=30), batch=20)).jobs == 1
    assert [row["wallet_id"] for row in await jobs(connection)] == [old.id]


async def test_the_sweep_pages_through_everything(connection: Connection, database: str, tron: Chain) -> None:
    await flag(connection, *[wallet.id for wallet in await add_wallets(connection, tron, 60)])
    async with queue_of(database) as queue:
        assert (await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=20)).jobs == 60
    assert {row["triggered_by"] for row in await jobs(connection)} == {"sweep"}


async def test_a_name_typed_by_hand_does_not_stop_the_enqueue(
    connection: Connection, database: str, tron: Chain
) -> None:
    """An operator may call a job ``gas-topup-<n>`` with a number that the sequence has yet to reach."""
    first, second, third = await add_wallets(connection, tron, 3)
    await typed(connection, "warm-up", third.address)
    (row,) = await jobs(connection)
    await typed(connection, f"gas-topup-{row['seq'] + 2}", third.address, job_type="consolidation")
    await flag(connection, first.id, second.id)
    async with queue_of(database) as queue:
        taken = await queue.enqueue_and_claim(GAS, 10)
        taken += await queue.enqueue_and_claim(GAS, 10)
    assert {job.wallet_id for job in taken} == {first.id, second.id, third.id}


async def test_nonsense_in_data_harms_nobody(connection: Connection, database: str, tron: Chain) -> None:
    first, second = await add_wallets(connection, tron, 2)
    await typed(connection, "odd", first.address, data=Jsonb({"flagged_at": "soon", "history": "none", "wait_ms": [1]}))
    await typed(connection, "even", second.address)
    async with queue_of(database) as queue:
        held = await queue.claim(GAS, 5)
        assert {job.job_id for job in held} == {"odd", "even"}
        assert [job.flagged_at for job in held] == [None, None]
        assert len(await queue.finish([(job, Retry("again")) for job in held])) == 2


async def test_cancelled_jobs_are_not_claimed_and_active_ones_cannot_be_cancelled(
    connection: Connection, database: str, tron: Chain
) -> None:
    first, second = await add_wallets(connection, tron, 2)
    await typed(connection, "unwanted", first.address)
    await typed(connection, "running", second.address, priority=10)
    async with queue_of(database) as queue:
        (running,) = await queue.claim(GAS, 1)
        await connection.execute("SELECT cancel_job('unwanted')")
        with pytest.raises(psycopg.Error, match="running"):
            await connection.execute("SELECT cancel_job('running')")
        assert await queue.claim(GAS, 5) == []
        assert await queue.finish([(running, Done())]) == {running.id}
    assert await statuses(connection) == {"cancelled": 1, "completed": 1}


async def test_what_cannot_be_a_job_is_refused_with_a_reason(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    with pytest.raises(psycopg.Error, match='unknown job_type "gas-topap"'):
        await typed(connection, "a", wallet.address, job_type="gas-topap")
    with pytest.raises(psycopg.Error, match='no wallet with the address "Tnobody"'):
        await typed(connection, "b", "Tnobody")


async def test_a_finished_job_does_not_change(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await typed(connection, "once", wallet.address)
    async with queue_of(database) as queue:
        (job,) = await queue.claim(GAS, 1)
        await queue.finish([(job, Done())])
        assert await queue.finish([(job, Failed("no"))]) == frozenset()
    with pytest.raises(psycopg.Error, match="does not change any more"):
        await connection.execute("UPDATE job_logs SET error_message = 'edited'")
