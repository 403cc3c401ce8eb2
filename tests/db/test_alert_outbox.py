"""What is to be sent is sent at least once, by one process at a time, in order, and given up after a day."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from psycopg.types.json import Jsonb

from pipeline.alerts.outbox import BATCH, Outbox
from pipeline.db.pool import Connection
from tests.db.alert_kit import Inbox
from tests.db.test_alerts import RULE
from tests.db.worker_kit import executor_pool, rows
from tests.logs import logged

RAISE = "SELECT record_alerts('gas.low', %s, %s, '0', '4 hours')"


async def raise_alerts(connection: Connection, *subjects: str, channels: tuple[str, ...] = ("webhook",)) -> None:
    what = [
        {"subject": one, "severity": "warning", "summary": f"{one} is low", "action": "fill it", "value": None}
        for one in subjects
    ]
    await connection.execute(RAISE, [Jsonb(what), list(channels)])


async def states(connection: Connection) -> list[tuple[str, int]]:
    found = await rows(connection, "SELECT state, attempts FROM alert_deliveries ORDER BY id")
    return [(row["state"], row["attempts"]) for row in found]


async def make_due(connection: Connection) -> None:
    await connection.execute("UPDATE alert_deliveries SET next_attempt_at = now() WHERE state = 'pending'")


@contextlib.asynccontextmanager
async def outbox(dsn: str, *inboxes: Inbox) -> AsyncIterator[Outbox]:
    async with executor_pool(dsn) as pool:
        yield Outbox(pool, {one.name: one for one in inboxes})


async def test_each_channel_gets_it_once(connection: Connection, database: str) -> None:
    webhook, mail = Inbox("webhook"), Inbox("mail")
    await raise_alerts(connection, "tron", channels=("webhook", "mail"))
    async with outbox(database, webhook, mail) as one:
        assert [await one.send_due() for _ in range(2)] == [2, 0]
    (notice,) = webhook.got
    assert (notice.rule, notice.subject, notice.summary, notice.action) == (RULE.id, "tron", "tron is low", "fill it")
    assert [got.alert_id for got in mail.got] == [notice.alert_id]
    assert await states(connection) == [("delivered", 1)] * 2


async def test_a_channel_that_this_process_has_not_is_left_to_others(connection: Connection, database: str) -> None:
    await raise_alerts(connection, "tron", channels=("webhook", "slack"))
    async with outbox(database, Inbox()) as one:
        assert await one.send_due() == 1
    assert await states(connection) == [("delivered", 1), ("pending", 0)]
    await connection.execute(
        "UPDATE alert_deliveries SET created_at = now() - interval '25 h', next_attempt_at = created_at"
    )
    await connection.execute("UPDATE alert_deliveries SET next_attempt_at = created_at")
    await connection.execute("SELECT forget_old_alerts()")
    (row,) = await rows(connection, "SELECT last_error FROM alert_deliveries WHERE state = 'failed'")
    assert row["last_error"] == "no sweep that led has this channel"


async def test_what_fails_is_tried_again_later_and_later(connection: Connection, database: str) -> None:
    inbox = Inbox(refuses=12)
    await raise_alerts(connection, "tron")
    waits = []
    async with outbox(database, inbox) as one:
        with logged("WARNING") as lines:
            for _ in range(12):
                assert await one.send_due() == 1
                assert await one.send_due() == 0, "it waits"
                (row,) = await rows(
                    connection,
                    "SELECT last_error, extract(epoch FROM next_attempt_at - clock_timestamp())::float AS wait"
                    " FROM alert_deliveries",
                )
                assert row["last_error"] == "answered 503: no"
                waits.append(row["wait"])
                await make_due(connection)
        assert len(lines) == 12
        assert "not sent by webhook, it is tried again: answered 503: no" in lines[0]
        assert await one.send_due() == 1
    for number, wait in enumerate(waits):
        longest = min(3600, 5 * 2**number)
        assert longest / 2 - 1 <= wait <= longest
    assert await states(connection) == [("delivered", 13)]


async def test_it_is_given_up_after_a_day(connection: Connection, database: str) -> None:
    await raise_alerts(connection, "tron")
    async with outbox(database, Inbox(refuses=2)) as one:
        await one.send_due()
        await connection.execute("UPDATE alert_deliveries SET first_attempt_at = now() - interval '25 hours'")
        await make_due(connection)
        with logged("ERROR") as lines:
            await one.send_due()
    assert await states(connection) == [("failed", 2)]
    assert "given up: answered 503: no" in lines[0]


async def test_two_processes_never_send_the_same_at_once(connection: Connection, database: str) -> None:
    one, other = Inbox(), Inbox()
    both, meet = asyncio.Barrier(2), asyncio.Event()

    async def at_once() -> None:
        if not meet.is_set():
            await both.wait()
            meet.set()

    one.during = other.during = at_once
    await raise_alerts(connection, *(f"chain-{number:02}" for number in range(3 * BATCH)))
    async with outbox(database, one) as first, outbox(database, other) as second:

        async def drain(box: Outbox) -> None:
            while await box.send_due():
                pass

        async with asyncio.timeout(30):
            await asyncio.gather(drain(first), drain(second))
    sent = [notice.subject for notice in (*one.got, *other.got)]
    assert len(sent) == len(set(sent)) == 3 * BATCH
    assert one.got
    assert other.got


async def test_what_was_sent_and_not_noted_is_sent_again(connection: Connection, database: str) -> None:
    """The process ends in between."""
    dies, lives = Inbox(), Inbox()
    gone = asyncio.Event()

    async def end() -> None:
        dies.got.append(None)  # type: ignore[arg-type]
        gone.set()
        await asyncio.Event().wait()

    dies.during = end
    await raise_alerts(connection, "tron")
    async with outbox(database, dies) as first, outbox(database, lives) as second:
        sending = asyncio.create_task(first.send_due())
        await gone.wait()
        assert await second.send_due() == 0, "it is leased"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert await second.send_due() == 0, "nobody knows that the other one died"
        await make_due(connection)  # the lease is over
        assert await second.send_due() == 1
    assert len(dies.got) == len(lives.got) == 1
    assert await states(connection) == [("delivered", 2)]


async def test_who_lost_its_lease_notes_nothing(connection: Connection, database: str) -> None:
    slow, quick = Inbox(refuses=1), Inbox()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go_on.wait()

    slow.during = wait
    await raise_alerts(connection, "tron")
    async with outbox(database, slow) as first, outbox(database, quick) as second:
        sending = asyncio.create_task(first.send_due())
        await begun.wait()
        await make_due(connection)
        assert await second.send_due() == 1
        go_on.set()
        await sending
    assert await states(connection) == [("delivered", 2)]


async def test_nothing_is_sent_inside_a_transaction(connection: Connection, database: str) -> None:
    inbox = Inbox()
    seen: list[int] = []

    async def look() -> None:
        found = await rows(
            connection,
            "SELECT count(*) AS open FROM pg_stat_activity WHERE datname = current_database()"
            " AND xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
        seen.append(found[0]["open"])

    inbox.during = look
    await raise_alerts(connection, "tron")
    async with outbox(database, inbox) as one:
        await one.send_due()
    assert seen == [0]


async def test_of_one_alert_events_are_sent_in_order(connection: Connection, database: str) -> None:
    inbox = Inbox(refuses=1)
    await raise_alerts(connection, "tron")
    async with outbox(database, inbox) as one:
        await one.send_due()
        for _ in range(2):
            await raise_alerts(connection)
        assert len(await states(connection)) == 2
        assert await one.send_due() == 0, "that it is over is not said before that it began"
        await make_due(connection)
        assert [await one.send_due() for _ in range(3)] == [1, 1, 0]
    assert inbox.events == [("raised", "gas.low"), ("resolved", "gas.low")]
    assert inbox.got[0].resolved_at is not None, "it says how things are now"


async def test_an_error_of_a_channel_that_nobody_expected_sends_it_again(connection: Connection, database: str) -> None:
    inbox = Inbox()

    async def bug() -> None:
        raise RuntimeError("a bug")

    inbox.during = bug
    await raise_alerts(connection, "tron")
    async with outbox(database, inbox) as one:
        with pytest.raises(RuntimeError, match="a bug"):
            await one.send_due()
        inbox.during = None
        await make_due(connection)
        assert await one.send_due() == 1
    assert await states(connection) == [("delivered", 2)]
