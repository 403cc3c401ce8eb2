"""Which slots the agents of hosts take: never one twice, never more than wanted, and those of a host that is gone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection
from pipeline.db.rows import fetch
from pipeline.scaling.lines import WORKER_TYPES
from tests.db.sessions import rows, second_session, value
from tests.db.test_registry import worker
from tests.seed import Chain

TOPUPS = {"type": "gas-topup", "blockchain": "tron"}
SYNCS = {"type": "sync", "blockchain": ""}


class Host:
    """The agent of a host, without processes: it says which of them it would have."""

    def __init__(self, session: Connection, name: str, machine: str | None = "m-1") -> None:
        self.session = session
        self.name = name
        self.me = agent(name, machine)
        self.running: set[str] = set()

    async def register(self) -> str:
        (row,) = await fetch(self.session, "workers/register", **self.me)
        return str(row["slot"])

    async def take(self, *lines: Mapping[str, str]) -> list[dict[str, Any]]:
        """What it has then."""
        return await fetch(
            self.session,
            "hosts/take_slots",
            incarnation=self.me["incarnation"],
            token=self.me["token"],
            lines=Jsonb(list(lines or (TOPUPS,))),
            running=sorted(self.running),
        )

    async def kept(self, *lines: Mapping[str, str]) -> list[str]:
        return [row["slot"] for row in await self.take(*lines) if row["kept"]]

    async def end(self, slot: str, pid: int, error: str | None = None) -> None:
        me = {"incarnation": self.me["incarnation"], "token": self.me["token"]}
        await fetch(self.session, "hosts/end_slot", **me, slot=slot, pid=pid, error=error)


def agent(host: str, machine: str | None) -> dict[str, Any]:
    return dict(worker("host", host=host, config=Jsonb({"machine": machine})))


@pytest.fixture
async def start(database: str, connection: Connection, tron: Chain) -> AsyncIterator[Callable[..., Any]]:
    """Starts the agent of a host, in a session of the agents' role."""
    async with AsyncExitStack() as stack:

        async def begin(name: str, machine: str | None = "m-1") -> Host:
            session = await stack.enter_async_context(second_session(database))
            await session.execute("SET ROLE pipeline_agent")
            host = Host(session, name, machine)
            await host.register()
            return host

        yield begin


async def scale(connection: Connection, number: int | None, host: str = "", **changes: Any) -> None:
    given = {"type": "gas-topup", "blockchain": "tron", "anyway": False, "admin": None, **changes}
    await fetch(connection, "hosts/scale", workers=number, host=host, **given)


async def settle(hosts: Sequence[Host], *lines: Mapping[str, str]) -> dict[str, list[str]]:
    """What each has once nobody gives back or takes any more."""
    before: dict[str, list[str]] = {}
    for _ in range(10):
        now = {host.name: await host.kept(*lines) for host in hosts}
        if now == before:
            return now
        before = now
    raise AssertionError(f"they do not settle: {before}")


async def live(connection: Connection, slot: str, host: str) -> None:
    """A process of that host has the slot."""
    of = dict(
        worker("gas-topup", blockchain="tron", host=host, slot=slot, desired=None, managed_by=host, port=None, pid=7)
    )
    assert await fetch(connection, "workers/register", **{**of, "incarnation": uuid4()}), slot


async def die(connection: Connection, host: str) -> None:
    """The agent of the host was killed, and found gone 6 s ago; its processes with it."""
    await connection.execute(
        "UPDATE worker_registry SET session_seen = true, session_lost_at = now() - interval '6 s' WHERE host = %s",
        [host],
    )


async def test_a_row_that_somebody_has_locked_is_known(
    connection: Connection, database: str, start: Callable[..., Any]
) -> None:
    """Its process cannot say that it lives, and is not taken for one that hangs."""
    host = await start("a")
    ((slot,),) = [await host.kept()]
    await connection.execute(
        "UPDATE worker_registry SET last_heartbeat = now() - interval '30 seconds' WHERE id = %s", [slot]
    )
    async with second_session(database) as person, person.transaction():
        await person.execute("UPDATE worker_registry SET desired = 'paused' WHERE id = %s", [slot])
        assert [row["locked"] for row in await host.take()] == [True]
    assert [row["locked"] for row in await host.take()] == [False]


async def test_what_has_slots_is_what_the_database_knows(connection: Connection) -> None:
    known = {name for (name,) in await rows(connection, "SELECT type FROM worker_types")}
    assert known - {"host", "web"} == WORKER_TYPES


class TestWithoutANumber:
    async def test_each_host_has_one_of_what_it_can_run(self, start: Callable[..., Any]) -> None:
        one, two = await start("one"), await start("two")
        assert await one.kept(TOPUPS, SYNCS) == ["all-sync-001", "tron-gas-topup-001"]
        assert await two.kept(TOPUPS) == ["tron-gas-topup-002"]
        assert await one.kept(TOPUPS, SYNCS) == ["all-sync-001", "tron-gas-topup-001"]

    async def test_what_is_not_in_its_procfile_any_more_is_given_back(self, start: Callable[..., Any]) -> None:
        one = await start("one")
        await one.take(TOPUPS, SYNCS)
        assert await one.kept(TOPUPS) == ["tron-gas-topup-001"]
        assert [row["slot"] for row in await one.take(TOPUPS)] == ["tron-gas-topup-001"]

    async def test_a_slot_that_a_process_has_is_not_taken(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await live(connection, "tron-gas-topup-001", "elsewhere")
        await connection.execute("UPDATE worker_registry SET managed_by = NULL WHERE type = 'gas-topup'")
        assert await (await start("one")).kept() == ["tron-gas-topup-002"]

    async def test_a_process_that_comes_by_itself_takes_none_of_an_agent(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await (await start("one")).take()
        of = worker("gas-topup", blockchain="tron", slot=None, desired=None, managed_by=None, port=None)
        (row,) = await fetch(connection, "workers/register", **of)
        assert row["slot"] == "tron-gas-topup-002"


class TestOneNumberForAllHosts:
    @pytest.mark.parametrize(
        ("number", "hosts", "each"),
        [(4, 1, [4]), (4, 2, [2, 2]), (5, 3, [2, 2, 1]), (5, 4, [2, 1, 1, 1]), (1, 2, [1, 0]), (0, 2, [0, 0])],
    )
    async def test_it_is_divided_evenly(
        self, start: Callable[..., Any], connection: Connection, number: int, hosts: int, each: list[int]
    ) -> None:
        await scale(connection, number)
        agents = [await start(f"host-{place}") for place in range(hosts)]
        for one in agents:
            await one.take()
        found = await settle(agents)
        assert sorted(map(len, found.values()), reverse=True) == each
        slots = [slot for of_one in found.values() for slot in of_one]
        assert len(set(slots)) == len(slots)

    async def test_scaled_up_and_down_and_back(self, start: Callable[..., Any], connection: Connection) -> None:
        agents = [await start("one"), await start("two")]
        assert await settle(agents) == {"one": ["tron-gas-topup-001"], "two": ["tron-gas-topup-002"]}
        await scale(connection, 5)
        found = await settle(agents)
        assert sum(map(len, found.values())) == 5
        await scale(connection, 2)
        assert await settle(agents) == {"one": ["tron-gas-topup-001"], "two": ["tron-gas-topup-002"]}
        await scale(connection, None)
        assert await settle(agents) == {"one": ["tron-gas-topup-001"], "two": ["tron-gas-topup-002"]}

    async def test_what_is_too_much_counts_until_its_process_is_gone(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await scale(connection, 2)
        one = await start("one")
        first, second = await one.kept()
        for slot in (first, second):
            await live(connection, slot, "one")
            one.running.add(slot)
        two = await start("two")
        assert await two.kept() == []
        assert await one.kept() == [first]
        assert await two.kept() == [], "its process lives still"
        await one.end(second, 7)
        one.running.remove(second)
        assert await one.kept() == [first]
        assert await two.kept() == [second]

    async def test_a_host_with_a_number_of_its_own_does_not_share(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await scale(connection, 4)
        await scale(connection, 1, host="one")
        found = await settle([await start("one"), await start("two")])
        assert {name: len(slots) for name, slots in found.items()} == {"one": 1, "two": 4}
        assert len(set(found["one"]) & set(found["two"])) == 0

    async def test_many_at_once_never_take_one_twice_nor_too_many(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await scale(connection, 6)
        agents = [await start(f"host-{place}") for place in range(4)]
        for number in (6, 3, 8, 0, 5):
            await scale(connection, number)
            for _ in range(4):
                await asyncio.gather(*(one.take() for one in agents))
                taken = await rows(connection, "SELECT id FROM worker_registry WHERE managed_by IS NOT NULL")
                kept = Counter([slot for one in agents for slot in await one.kept()])
                assert max(kept.values(), default=1) == 1
                assert len(kept) <= number
                assert len(taken) <= 8
            assert len(kept) == number


class TestAHostThatIsGone:
    async def test_its_share_is_taken_over_once_its_processes_are_gone(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await scale(connection, 2)
        one, two = await start("one"), await start("two")
        found = await settle([one, two])
        (slot,) = found["one"]
        await live(connection, slot, "one")
        await die(connection, "one")
        await connection.execute("UPDATE worker_registry SET session_lost_at = NULL WHERE id = %s", [slot])
        assert await two.kept() == found["two"], "the process lives still"
        await die(connection, "one")
        assert sorted(await two.kept()) == sorted([*found["two"], slot])

    async def test_it_gets_its_share_again(self, start: Callable[..., Any], connection: Connection) -> None:
        await scale(connection, 2)
        one, two = await start("one"), await start("two")
        await settle([one, two])
        await die(connection, "one")
        assert len(await two.kept()) == 2
        again = await start("one")
        found = await settle([again, two])
        assert {name: len(slots) for name, slots in found.items()} == {"one": 1, "two": 1}

    async def test_it_takes_nothing_back_from_one_that_works(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        """The slot that it had is still its own: what its process held was not rescued when the other one took over."""
        await scale(connection, 1)
        one, two = await start("one"), await start("two")
        assert await settle([one, two]) == {"one": ["tron-gas-topup-001"], "two": []}
        await live(connection, "tron-gas-topup-001", "one")
        await die(connection, "one")
        ((slot,),) = [await two.kept()]
        await live(connection, slot, "two")
        await connection.execute(
            "INSERT INTO worker_registry"
            " (id, name, type, blockchain, host, managed_by, status, ended_at, last_heartbeat) VALUES"
            " ('tron-gas-topup-009', 'w', 'gas-topup', 'tron', 'one', 'one', 'stopped', now(), now())"
        )
        again = await start("one")
        assert await settle([again, two]) == {"one": [], "two": [slot]}

    async def test_it_has_the_same_slot_again_and_what_it_was_told(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await start("other")
        one = await start("one")
        await connection.execute("SELECT control_worker('all-host-002', 'stop')")
        await die(connection, "other")
        await die(connection, "one")
        third = Host(one.session, "third")
        assert await third.register() == "all-host-001", "not the one that was told to stop"
        again = Host(one.session, "one")
        assert await again.register() == "all-host-002"
        assert await value(connection, "SELECT desired FROM worker_registry WHERE id = 'all-host-002'") == "stopped"

    async def test_killed_a_moment_ago_too(self, start: Callable[..., Any], connection: Connection) -> None:
        one = await start("one")
        await connection.execute("SELECT control_worker('all-host-001', 'stop')")
        await connection.execute("UPDATE worker_registry SET session_seen = true")
        assert await Host(one.session, "other").register() == "all-host-002"
        assert await Host(one.session, "one").register() == "all-host-001"
        assert await value(connection, "SELECT desired FROM worker_registry WHERE id = 'all-host-001'") == "stopped"

    async def test_drained_it_keeps_nothing_and_others_take_its_share(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await scale(connection, 2)
        one, two = await start("one"), await start("two")
        await settle([one, two])
        await connection.execute("SELECT control_worker('all-host-001', 'stop')")
        assert await one.kept() == []
        assert len(await two.kept()) == 2

    async def test_paused_it_takes_nothing_new_and_gives_nothing_up(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        await scale(connection, 2)
        one, two = await start("one"), await start("two")
        found = await settle([one, two])
        await connection.execute("SELECT control_worker('all-host-001', 'pause')")
        await scale(connection, 4)
        assert await one.kept() == found["one"]
        assert len(await two.kept()) == 3


class TestASlot:
    async def test_told_to_stop_it_stays_with_its_agent(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        one = await start("one")
        await one.take()
        await connection.execute("SELECT control_worker('tron-gas-topup-001', 'stop')")
        (row,) = await one.take()
        assert (row["kept"], row["desired"], row["generation"]) == (True, "stopped", 1)
        assert await value(connection, "SELECT observed_generation FROM worker_registry WHERE type = 'gas-topup'") == 1
        await connection.execute("SELECT control_worker('tron-gas-topup-001', 'start')")
        (row,) = await one.take()
        assert (row["free"], row["desired"], row["generation"]) == (True, "running", 2)

    async def test_is_free_as_soon_as_its_agent_says_that_the_process_ended(
        self, start: Callable[..., Any], connection: Connection
    ) -> None:
        one = await start("one")
        (slot,) = await one.kept()
        await live(connection, slot, "one")
        one.running.add(slot)
        assert [row["free"] for row in await one.take()] == [False]
        await one.end(slot, 8)
        assert [row["free"] for row in await one.take()] == [False], "another process"
        await one.end(slot, 7)
        assert [row["free"] for row in await one.take()] == [True]

    async def test_says_why_none_is_started_any_more(self, start: Callable[..., Any], connection: Connection) -> None:
        one = await start("one")
        (slot,) = await one.kept()
        await one.end(slot, 7, "ends at once")
        found = await rows(connection, "SELECT status, last_error, desired FROM worker_registry WHERE id = %s", slot)
        assert found == [("error", "ends at once", "running")]
        await connection.execute("SELECT control_worker(%s, 'start')", [slot])
        (row,) = await one.take()
        assert (row["free"], row["generation"]) == (True, 1)


class TestRights:
    async def test_a_second_agent_of_a_host_is_refused(self, start: Callable[..., Any]) -> None:
        one = await start("one")
        await one.take()
        second = await start("one")
        with pytest.raises(psycopg.Error, match="host one has an agent already: all-host-001") as error:
            await second.take()
        assert error.value.sqlstate == "FP003"
        assert await one.kept()

    async def test_nobody_acts_for_another_agent(self, start: Callable[..., Any]) -> None:
        one, two = await start("one"), await start("two")
        two.me = {**one.me, "token": "guessed"}
        with pytest.raises(psycopg.Error) as error:
            await two.take()
        assert error.value.sqlstate == "FP015"

    @pytest.mark.parametrize("role", ["pipeline_executor", "pipeline_sync", "pipeline_web", "pipeline_readonly"])
    async def test_no_other_role_takes_slots(self, start: Callable[..., Any], role: str) -> None:
        one = await start("one")
        await one.session.execute("RESET ROLE")
        await one.session.execute(f"SET ROLE {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await one.take()

    async def test_an_agent_scales_nothing(self, start: Callable[..., Any]) -> None:
        one = await start("one")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await scale(one.session, 200)


class TestScaling:
    async def test_is_audited_and_notified(self, connection: Connection, database: str, tron: Chain) -> None:
        async with second_session(database) as listening:
            await listening.execute("LISTEN workers")
            await scale(connection, 4, blockchain=" tron, tron")
            heard = [notify.payload async for notify in listening.notifies(timeout=5, stop_after=1)]
        assert heard == ["tron-gas-topup"]
        await scale(connection, 4)
        await scale(connection, None)
        found = await rows(
            connection,
            "SELECT target_id, details -> 'before' ->> 'workers', details -> 'after' ->> 'workers' FROM admin_actions"
            " WHERE action_type = 'workers.scale' ORDER BY created_at",
        )
        assert found == [("tron-gas-topup", None, "4"), ("tron-gas-topup", "4", None)]

    @pytest.mark.parametrize(
        ("changes", "number"),
        [({"type": "host"}, 1), ({"type": "anything"}, 1), ({"blockchain": "nowhere"}, 1), ({}, 201), ({}, -1)],
    )
    async def test_what_cannot_be_is_refused(
        self, connection: Connection, tron: Chain, changes: Mapping[str, Any], number: int
    ) -> None:
        with pytest.raises(psycopg.Error) as error:
            await scale(connection, number, **changes)
        assert error.value.sqlstate == "FP004"
