"""Whether a listener waits or polls for wallet_flags: when it changes, and that no flag is missed, in every order."""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest

from pipeline.config import RuntimeConfig
from pipeline.db import notify_gate as gates
from pipeline.db.listener import Listener
from pipeline.db.notify_gate import LONGEST_PAUSE, Gate
from pipeline.db.pool import Connection
from pipeline.queue.jobs import JobType
from tests.db.notifications import Notifications, notifications_of
from tests.db.sessions import notified, rows, second_session, value
from tests.db.worker_kit import Script, executor, heartbeat, running
from tests.patience import PATIENCE
from tests.seed import Chain, Wallet, add_wallets

CHANNEL = "wallet_flags"
FLAG = "UPDATE wallets SET needs_gas = true WHERE id = %s"
HELD = (
    "SELECT pid, mode FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY pid"
)
"""The locks of the gate."""


class Gated:
    """A listener's session and its gate, to whom time passes when the test says so. Every NOTIFY is a burst."""

    def __init__(self, session: Connection, reader: Connection) -> None:
        self.session = session
        self.gate = Gate(self._read_soon, burst=1)
        self.gate.enabled = True
        self.seen: set[int] = set()
        """Flagged wallets when it last read the table."""
        self.notifications = 0
        self._reader = reader
        self._call = False

    @property
    def waits(self) -> bool:
        return self.gate.seconds_left == math.inf

    def _read_soon(self) -> None:
        self._call = True

    async def start(self) -> None:
        await self.gate.open(self.session)
        await self.session.execute("LISTEN wallet_flags")

    async def go_on(self) -> None:
        """Receive what was notified, take the next step, and read the table if anything called for it."""
        await self.session.execute("SELECT")  # what was committed before is here once this is answered
        async for _ in self.session.notifies(timeout=0):
            self.notifications += 1
            self.gate.notified()
            self._read_soon()
        if not self.waits:
            await self.gate.step(self.session)
        if self._call:
            self._call = False
            self.seen = {number for (number,) in await rows(self._reader, "SELECT id FROM wallets WHERE needs_gas")}

    async def start_polling(self) -> None:
        self.gate.notified()
        await self.gate.step(self.session)
        assert not self.waits

    async def until_waiting(self) -> None:
        """Go on until nothing is to be done but wait for a NOTIFY."""
        for _ in range(20):
            await self.go_on()
            if self.waits:
                break
        await self.go_on()
        assert self.waits


@pytest.fixture
async def wallets(connection: Connection, tron: Chain) -> Sequence[Wallet]:
    return await add_wallets(connection, tron, 3)


@pytest.fixture
async def sessions(database: str) -> AsyncIterator[Iterator[Connection]]:
    """As many as are asked for."""
    async with AsyncExitStack() as stack:
        yield iter([await stack.enter_async_context(second_session(database)) for _ in range(4)])


@pytest.fixture
async def gated(sessions: Iterator[Connection], connection: Connection) -> Gated:
    started = Gated(next(sessions), connection)
    await started.start()
    return started


@pytest.fixture
async def notifications(
    database: str, connection: Connection, wallets: Sequence[Wallet]
) -> AsyncIterator[Notifications]:
    """A person at LISTEN."""
    async with notifications_of(database, connection) as opened:
        yield opened


def orders() -> list[str]:
    """Every order in which two transactions flag (a, b) and commit (A, B) while the listener takes four steps."""
    found = {"".join(order) for order in itertools.permutations("aAbBllll")}
    return sorted(
        order
        for order in found
        if order.index("a") < order.index("b") < order.index("B")
        and "A" in order
        and order.index("a") < order.index("A")
    )


class TestNothingIsMissed:
    @pytest.mark.parametrize("polling", [False, True], ids=["waiting at first", "polling at first"])
    @pytest.mark.parametrize("longest", [0.0, 60.0], ids=["polling shortly", "polling until no writer is suppressed"])
    async def test_in_every_order_of_writers_and_steps(
        self,
        connection: Connection,
        sessions: Iterator[Connection],
        wallets: Sequence[Wallet],
        gated: Gated,
        monkeypatch: pytest.MonkeyPatch,
        polling: bool,
        longest: float,
    ) -> None:
        monkeypatch.setattr(gates, "LONGEST_POLLING_SECONDS", longest)
        writers = {"a": (next(sessions), wallets[0].id), "b": (next(sessions), wallets[1].id)}
        suppressed = 0
        for order in orders():
            await connection.execute("UPDATE wallets SET needs_gas = false")
            await gated.until_waiting()
            gated.seen, gated.notifications = set(), 0
            if polling:
                await gated.start_polling()
            for step in order:
                if step == "l":
                    await gated.go_on()
                    continue
                session, wallet_id = writers[step.lower()]
                if step.islower():
                    await session.execute("BEGIN")
                    await session.execute(FLAG, [wallet_id])
                else:
                    await session.execute("COMMIT")
            await gated.until_waiting()
            assert gated.seen == {wallets[0].id, wallets[1].id}, order
            suppressed += 2 - gated.notifications
        assert suppressed > 0

    async def test_among_writers_that_wait_for_nobody(
        self, database: str, connection: Connection, sessions: Iterator[Connection], tron: Chain
    ) -> None:
        """The consumer has nothing but its event: one flag missed, and it waits for ever."""
        await add_wallets(connection, tron, 300)
        ids = [number for (number,) in await rows(connection, "SELECT id FROM wallets ORDER BY id")]
        writers = [next(sessions) for _ in range(3)]

        async def flag(session: Connection, wallet_ids: Sequence[int]) -> None:
            for wallet_id in wallet_ids:
                await session.execute(FLAG, [wallet_id])

        async with Listener(database, [CHANNEL], name="test", gated=CHANNEL) as listener, asyncio.timeout(PATIENCE):
            woken = notified(listener, CHANNEL)
            listener.gate.enabled, listener.gate.burst = True, 2
            for first in range(0, len(ids), 15):
                batch = ids[first : first + 15]
                writing = asyncio.gather(*(flag(session, batch[n::3]) for n, session in enumerate(writers)))
                while await value(connection, "SELECT count(*) FROM wallets WHERE needs_gas") < first + len(batch):
                    await woken.wait()
                    woken.clear()
                await writing
            assert listener.gate.bursts > 0
            assert listener.received[CHANNEL] < len(ids)

    async def test_by_a_writer_whose_snapshot_is_older_than_the_sleep(
        self, connection: Connection, sessions: Iterator[Connection], wallets: Sequence[Wallet], gated: Gated
    ) -> None:
        writer = next(sessions)
        await gated.start_polling()
        await writer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await writer.execute("SELECT FROM wallets")
        await gated.until_waiting()
        await writer.execute(FLAG, [wallets[0].id])
        await writer.execute("COMMIT")
        await gated.go_on()
        assert gated.seen == {wallets[0].id}

    async def test_by_a_transaction_that_is_left_open(
        self, connection: Connection, sessions: Iterator[Connection], wallets: Sequence[Wallet], gated: Gated
    ) -> None:
        """It keeps nobody polling fast, and is polled for until it ends."""
        writer = next(sessions)
        await gated.start_polling()
        await writer.execute("BEGIN")
        await writer.execute(FLAG, [wallets[0].id])
        gated.gate.enabled = False  # the time to poll is over
        for _ in range(10):
            await gated.go_on()
            assert gated.gate.seconds_left <= LONGEST_PAUSE
        await connection.execute(FLAG, [wallets[1].id])
        await gated.go_on()
        assert (gated.notifications, gated.seen) == (1, {wallets[1].id}), "it can be notified meanwhile"
        await writer.execute("COMMIT")
        await gated.until_waiting()
        assert gated.seen == {wallets[0].id, wallets[1].id}

    async def test_by_a_transaction_that_began_before_the_listener(
        self, connection: Connection, sessions: Iterator[Connection], wallets: Sequence[Wallet], gated: Gated
    ) -> None:
        writer, other = next(sessions), Gated(next(sessions), connection)
        await gated.start_polling()
        await writer.execute("BEGIN")
        await writer.execute(FLAG, [wallets[0].id])
        await gated.session.close()
        await other.start()
        await writer.execute("COMMIT")
        await other.until_waiting()
        assert other.seen == {wallets[0].id}


class TestWhoIsRung:
    async def test_a_person_where_nobody_else_listens(
        self, connection: Connection, wallets: Sequence[Wallet], notifications: Notifications
    ) -> None:
        for wallet in wallets:
            await connection.execute(FLAG, [wallet.id])
        assert len(await notifications.on(CHANNEL)) == 3

    async def test_a_person_beside_a_listener_that_waits_and_not_beside_one_that_polls(
        self, connection: Connection, wallets: Sequence[Wallet], notifications: Notifications, gated: Gated
    ) -> None:
        await connection.execute(FLAG, [wallets[0].id])
        assert len(await notifications.on(CHANNEL)) == 1
        await gated.start_polling()
        await connection.execute(FLAG, [wallets[1].id])
        assert await notifications.on(CHANNEL) == []
        await gated.until_waiting()
        await connection.execute(FLAG, [wallets[2].id])
        assert len(await notifications.on(CHANNEL)) == 1

    async def test_a_person_who_required_notify(
        self,
        connection: Connection,
        sessions: Iterator[Connection],
        wallets: Sequence[Wallet],
        notifications: Notifications,
        gated: Gated,
    ) -> None:
        person = next(sessions)
        await gated.start_polling()
        await person.execute("SELECT require_notify()")
        await connection.execute(FLAG, [wallets[0].id])
        assert len(await notifications.on(CHANNEL)) == 1
        await connection.execute("SELECT pg_terminate_backend(%s, 5000)", [person.info.backend_pid])
        await connection.execute(FLAG, [wallets[1].id])
        assert await notifications.on(CHANNEL) == []

    async def test_a_listener_that_waits_while_another_one_polls_or_is_frozen(
        self,
        connection: Connection,
        sessions: Iterator[Connection],
        wallets: Sequence[Wallet],
        notifications: Notifications,
        gated: Gated,
    ) -> None:
        other = Gated(next(sessions), connection)
        await gated.start_polling()
        await other.start()
        await connection.execute(FLAG, [wallets[0].id])
        assert len(await notifications.on(CHANNEL)) == 1
        await other.go_on()
        assert other.seen == {wallets[0].id}

    async def test_nobody_while_all_poll_and_everybody_once_one_of_them_waits(
        self,
        connection: Connection,
        sessions: Iterator[Connection],
        wallets: Sequence[Wallet],
        notifications: Notifications,
        gated: Gated,
    ) -> None:
        other = Gated(next(sessions), connection)
        await other.start()
        await gated.start_polling()
        await other.start_polling()
        await connection.execute(FLAG, [wallets[0].id])
        assert await notifications.on(CHANNEL) == []
        await gated.until_waiting()
        assert gated.seen == {wallets[0].id}
        await connection.execute(FLAG, [wallets[1].id])
        assert len(await notifications.on(CHANNEL)) == 1
        await other.until_waiting()
        assert other.seen == {wallets[0].id, wallets[1].id}

    async def test_everybody_after_the_death_of_the_one_that_polled(
        self, connection: Connection, wallets: Sequence[Wallet], notifications: Notifications, gated: Gated
    ) -> None:
        await gated.start_polling()
        await connection.execute("SELECT pg_terminate_backend(%s, 5000)", [gated.session.info.backend_pid])
        await connection.execute(FLAG, [wallets[0].id])
        assert len(await notifications.on(CHANNEL)) == 1

    async def test_nobody_is_kept_waiting_by_what_was_rolled_back(
        self, connection: Connection, wallets: Sequence[Wallet], gated: Gated
    ) -> None:
        await gated.start_polling()
        async with connection.transaction(), connection.transaction(force_rollback=True):
            await connection.execute(FLAG, [wallets[0].id])
        await gated.go_on()
        assert gated.waits

    async def test_no_lock_is_left_on_the_way(
        self, connection: Connection, sessions: Iterator[Connection], wallets: Sequence[Wallet], gated: Gated
    ) -> None:
        other = Gated(next(sessions), connection)
        await other.start()
        for _ in range(3):
            for one in (gated, other):
                await one.start_polling()
            await connection.execute("UPDATE wallets SET needs_gas = NOT needs_gas")
            for one in (gated, other):
                await one.until_waiting()
        pids = sorted((gated.session.info.backend_pid, other.session.info.backend_pid))
        assert await rows(connection, HELD) == [(pid, "ShareLock") for pid in pids]


class TestWhenItAsksForSilence:
    def gate(self) -> Gate:
        gate = Gate(lambda: None)
        gate.enabled = True
        return gate

    async def test_notifications_of_a_burst(self) -> None:
        gate = self.gate()
        for _ in range(gates.BURST):
            assert gate.seconds_left > 0
            gate.notified()
        assert gate.seconds_left <= 0

    async def test_not_for_notifications_that_can_be_answered_one_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = itertools.count(step=0.02)
        monkeypatch.setattr(gates, "_now", lambda: next(clock))
        gate = self.gate()
        for _ in range(100):
            gate.notified()
        assert gate.seconds_left == math.inf

    async def test_not_where_it_is_switched_off(self) -> None:
        gate = self.gate()
        gate.enabled = False
        for _ in range(100):
            gate.notified()
        assert gate.seconds_left == math.inf


async def test_a_worker_serves_a_storm_and_is_hardly_notified(
    database: str, connection: Connection, sessions: Iterator[Connection], tron: Chain
) -> None:
    await add_wallets(connection, tron, 200)
    script = Script()
    async with running(executor(script, JobType.GAS_TOPUP), database) as runtime:
        runtime.listener.gate.burst = 2

        async def flag(session: Connection, first: int) -> None:
            await session.execute("SET synchronous_commit = off")
            for (wallet_id,) in await rows(session, "SELECT id FROM wallets WHERE derivation_index %% 4 = %s", first):
                await session.execute(FLAG, [wallet_id])

        await asyncio.gather(*(flag(session, number) for number, session in enumerate(sessions)))
        await script.until_written(200)
        assert runtime.listener.gate.bursts > 0
        assert runtime.listener.received[CHANNEL] < 200
        assert not script.overlaps


async def test_a_worker_does_as_configured(database: str, connection: Connection, tron: Chain) -> None:
    async with running(executor(Script()), database) as runtime:
        for wanted in (False, True):
            await RuntimeConfig.set(connection, "notify.gate", wanted)
            await heartbeat(runtime)
            assert runtime.listener.gate.enabled is wanted


async def test_a_poll_of_the_gate_is_a_notify_like_any_other_to_a_lossy_listener(
    database: str, connection: Connection, wallets: Sequence[Wallet]
) -> None:
    async with Listener(database, [CHANNEL], name="test", gated=CHANNEL, lossy=True) as listener:
        woken = notified(listener, CHANNEL)
        listener.gate.enabled, listener.gate.burst = True, 1
        await connection.execute(FLAG, [wallets[0].id])
        await asyncio.wait_for(listener.heard.wait(), PATIENCE)
        assert not woken.is_set()
        assert listener.gate.seconds_left == math.inf


async def test_a_session_lost_while_it_polled_is_followed_by_one_that_waits(
    database: str, connection: Connection, wallets: Sequence[Wallet]
) -> None:
    reconnected = asyncio.Event()

    async def on_reconnect() -> None:
        reconnected.set()

    async with (
        Listener(database, [CHANNEL], name="test", gated=CHANNEL, on_reconnect=on_reconnect) as listener,
        asyncio.timeout(PATIENCE),
    ):
        woken, gate = notified(listener, CHANNEL), listener.gate
        gate.enabled, gate.burst, gate.poll_seconds = True, 1, PATIENCE
        await connection.execute(FLAG, [wallets[0].id])
        while "ExclusiveLock" not in [mode for _, mode in await rows(connection, HELD)]:  # noqa: ASYNC110 -- no signal tells
            await asyncio.sleep(0)
        woken.clear()
        await connection.execute(FLAG, [wallets[1].id])
        assert listener.received[CHANNEL] == 1
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE '%listener'"
        )
        await reconnected.wait()
        await woken.wait()
        assert gate.seconds_left == math.inf
        await connection.execute(FLAG, [wallets[2].id])
        while listener.received[CHANNEL] < 2:
            listener.heard.clear()
            await listener.heard.wait()
