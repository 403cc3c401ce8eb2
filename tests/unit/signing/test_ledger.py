"""The file in which a host counts what it has signed away: shared, durable, and the reason to sign nothing where it "
"fails."""

import asyncio
import contextlib
import fcntl
import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.signing import ledger as module
from pipeline.signing.clock import SLACK_SECONDS, HostClock
from pipeline.signing.errors import CeilingReached, LedgerUnavailable, NeverSigned, OtherContent
from pipeline.signing.ledger import YOUNG_SECONDS, Ceiling, SpendingLedger
from pipeline.signing.ledger_entries import Refusal

DAY = 86_400.0
CEILING = Ceiling("evm 56 gas wallet", 100)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def append(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def about(path: Path) -> os.stat_result:
    return path.stat()


class Ledger(SpendingLedger):
    """Each count is a request of its own."""

    async def count(self, ceiling: Ceiling, amount: int) -> str:
        request = uuid4().hex
        await self.reserve(request, "content", ceiling, amount)
        return request


class Now:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.at = 1_764_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "signed.jsonl"


async def test_what_is_reserved_stands_on_the_disk(path: Path, now: Now) -> None:
    with mock.patch.object(module.os, "fsync", wraps=os.fsync) as fsync:
        await Ledger(path, clock=HostClock(now, now)).count(CEILING, 60)
        assert fsync.called
    (line,) = lines(path)
    assert {key: value for key, value in line.items() if key != "id"} == {
        "at": now.at,
        "of": CEILING.of,
        "spent": "60",
        "content": "content",
    }
    assert about(path).st_mode & 0o077 == 0


async def test_a_ceiling_is_not_passed(path: Path, now: Now) -> None:
    ledger = Ledger(path, clock=HostClock(now, now))
    await ledger.count(CEILING, 60)
    with pytest.raises(CeilingReached) as reached:
        await ledger.count(CEILING, 41)
    assert (reached.value.spent, reached.value.asked, reached.value.free_at) == (60, 41, now.at + DAY)
    await ledger.count(CEILING, 40)
    await ledger.count(Ceiling("evm 56 wallets", 100), 100)
    assert ledger.spent(CEILING.of) == 100


async def test_a_restart_forgets_nothing_and_a_day_does(path: Path, now: Now) -> None:
    await Ledger(path, clock=HostClock(now, now)).count(CEILING, 100)
    now.at += DAY - 1
    again = Ledger(path, clock=HostClock(now, now))
    with pytest.raises(CeilingReached):
        await again.count(CEILING, 1)
    now.at += 2
    await again.count(CEILING, 100)


class TestRequests:
    """One id has one content and one answer, for every process of the host."""

    async def test_what_was_counted_is_not_counted_again(self, path: Path, now: Now) -> None:
        ledger = Ledger(path, clock=HostClock(now, now))
        for known in (ledger, ledger, Ledger(path, clock=HostClock(now, now))):
            await known.reserve("r1", "a", CEILING, 100)
        assert len(lines(path)) == 1
        now.at += DAY + 1
        await Ledger(path, clock=HostClock(now, now)).reserve("r1", "a", CEILING, 100)
        assert len(lines(path)) == 1, "it may have been signed yesterday"

    async def test_with_another_content_it_is_refused_and_nothing_given_up(self, path: Path, now: Now) -> None:
        ledger = Ledger(path, clock=HostClock(now, now))
        await ledger.reserve("r1", "a", CEILING, 1)
        with pytest.raises(OtherContent, match="was asked before, for something else"):
            await ledger.reserve("r1", "b", CEILING, 1)
        with pytest.raises(OtherContent):
            await ledger.refuse("r1", "b", Refusal("forbidden", "no"))
        await ledger.reserve("r1", "a", CEILING, 1)
        assert len(lines(path)) == 1

    async def test_what_was_refused_is_refused_for_good(self, path: Path, now: Now) -> None:
        """After a restart, too; and before it is answered it stands on the disk."""
        ledger = Ledger(path, clock=HostClock(now, now))
        with mock.patch.object(module.os, "fsync", wraps=os.fsync) as fsync:
            with pytest.raises(NeverSigned, match="no such token"):
                await ledger.refuse("r1", "a", Refusal("forbidden", "no such token"))
            assert fsync.called
        for known in (ledger, Ledger(path, clock=HostClock(now, now))):
            with pytest.raises(NeverSigned, match="no such token") as never:
                await known.reserve("r1", "a", CEILING, 1)
            assert never.value.why == "forbidden"
        assert ledger.spent(CEILING.of) == 0

    async def test_what_was_counted_is_never_called_unsigned(self, path: Path, now: Now) -> None:
        ledger = Ledger(path, clock=HostClock(now, now))
        await ledger.reserve("r1", "a", CEILING, 1)
        await Ledger(path, clock=HostClock(now, now)).refuse("r1", "a", Refusal("terms", "withdrawn"))
        assert len(lines(path)) == 1

    async def test_a_refusal_that_cannot_be_written_is_none(self, path: Path, now: Now) -> None:
        ledger = Ledger(path, clock=HostClock(now, now))
        await ledger.count(CEILING, 1)
        full = OSError(28, "No space left on device")
        with mock.patch.object(module.os, "fsync", side_effect=full), pytest.raises(LedgerUnavailable):
            await ledger.refuse("r1", "a", Refusal("forbidden", "no"))
        await ledger.reserve("r1", "a", CEILING, 1)

    async def test_what_is_above_the_ceiling_may_be_asked_for_again(self, path: Path, now: Now) -> None:
        ledger = Ledger(path, clock=HostClock(now, now))
        await ledger.count(CEILING, 60)
        with pytest.raises(CeilingReached):
            await ledger.reserve("r1", "a", CEILING, 60)
        now.at += DAY + 1
        await ledger.reserve("r1", "a", CEILING, 60)


async def test_who_waits_at_the_same_moment_shares_an_fsync(path: Path, now: Now) -> None:
    ledger = Ledger(path, clock=HostClock(now, now))
    await ledger.count(CEILING, 0)
    with mock.patch.object(module.os, "fsync", wraps=os.fsync) as fsync:
        done = await asyncio.gather(*(ledger.count(CEILING, 1) for _ in range(120)), return_exceptions=True)
    assert sum(isinstance(one, CeilingReached) for one in done) == 20
    assert fsync.call_count < 5


def _spend(path: Path, amount: int, times: int, said: "multiprocessing.Queue[int]") -> None:
    async def spend() -> int:
        ledger, spent = Ledger(path), 0
        for _ in range(times):
            with contextlib.suppress(CeilingReached):
                await ledger.count(CEILING, amount)
                spent += amount
        return spent

    said.put(asyncio.run(spend()))


def test_processes_share_a_ceiling(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    processes = [context.Process(target=_spend, args=(path, 3, 30, said)) for _ in range(2)]
    for process in processes:
        process.start()
    spent = [said.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(spent) == 99
    assert Ledger(path).spent(CEILING.of) == 99


class TestTrouble:
    async def test_nothing_is_signed_where_nothing_can_be_written(self, tmp_path: Path, now: Now) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LedgerUnavailable, match=r"cannot be written to .*signed\.jsonl.*nothing is signed"):
            await Ledger(tmp_path / "file" / "signed.jsonl", clock=HostClock(now, now)).count(CEILING, 1)

    @pytest.mark.parametrize("call", ["pwrite", "fsync"])
    async def test_a_full_disk(self, path: Path, now: Now, call: str) -> None:
        ledger = Ledger(path, clock=HostClock(now, now))
        await ledger.count(CEILING, 1)
        full = OSError(28, "No space left on device")
        with (
            mock.patch.object(module.os, call, side_effect=full),
            pytest.raises(LedgerUnavailable, match="No space left on device"),
        ):
            await ledger.count(CEILING, 50)
        assert len(lines(path)) == 1, "nothing was signed for it, so it is not counted"
        await ledger.count(CEILING, 99)

    async def test_a_line_that_does_not_end_is_cut_off(self, path: Path, now: Now) -> None:
        await Ledger(path, clock=HostClock(now, now)).count(CEILING, 10)
        append(path, '{"id":"torn","at":17640')
        ledger = Ledger(path, clock=HostClock(now, now))
        await ledger.count(CEILING, 20)
        assert [line["spent"] for line in lines(path)] == ["10", "20"]

    @pytest.mark.parametrize(
        "line",
        [
            "nonsense",
            "[]",
            '{"id":"a","at":1764000000,"of":"evm 56 gas wallet","content":"c"}',
            '{"id":"a","at":1764000000,"of":"evm 56 gas wallet","spent":"-5","content":"c"}',
            '{"id":"a","at":NaN,"of":"evm 56 gas wallet","spent":"5","content":"c"}',
            '{"id":"a","at":1e999,"of":"evm 56 gas wallet","spent":"5","content":"c"}',
            '{"id":"","at":1764000000,"of":"evm 56 gas wallet","spent":"5","content":"c"}',
            '{"id":"a","at":1764000000,"of":"evm 56 gas wallet","spent":"many","content":"c"}',
            '{"id":"a","at":1764000000,"of":"evm 56 gas wallet","spent":"5"}',
            '{"refused":"a","at":1764000000,"why":"forbidden"}',
            '{"refused":"a","at":NaN,"why":"forbidden","content":"c"}',
        ],
    )
    async def test_a_line_that_says_nothing_stops_signing(self, path: Path, now: Now, line: str) -> None:
        append(path, line + "\n")
        with pytest.raises(LedgerUnavailable, match="has a line that cannot be read"):
            await Ledger(path, clock=HostClock(now, now)).count(CEILING, 1)

    async def test_a_process_that_stands_still_with_the_lock(self, path: Path, now: Now) -> None:
        await Ledger(path, clock=HostClock(now, now)).count(CEILING, 1)
        with path.open() as held, mock.patch.object(module, "LOCK_SECONDS", 0.05):
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(LedgerUnavailable, match="another process has held its lock"):
                await Ledger(path, clock=HostClock(now, now)).count(CEILING, 1)

    async def test_who_gives_up_waiting_leaves_the_others_alone(self, path: Path, now: Now) -> None:
        ledger = Ledger(path, clock=HostClock(now, now))
        first = asyncio.create_task(ledger.count(CEILING, 10))
        second = asyncio.create_task(ledger.count(CEILING, 20))
        await asyncio.sleep(0)
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first
        assert ledger.spent(CEILING.of) in (20, 30)


class TestClock:
    async def test_lines_from_the_future_count_from_now_on(self, path: Path, now: Now) -> None:
        """The host's clock was 400 days ahead, and was set right."""
        now.at += 400 * DAY
        await Ledger(path, clock=HostClock(now, now)).count(CEILING, 70)
        now.at -= 400 * DAY
        ledger = Ledger(path, clock=HostClock(now, now))
        with pytest.raises(CeilingReached):
            await ledger.count(CEILING, 31)
        await ledger.count(CEILING, 5)
        now.at += YOUNG_SECONDS + 1
        await ledger.count(CEILING, 0)  # which writes down since when they count
        now.at += DAY + 1
        assert Ledger(path, clock=HostClock(now, now)).spent(CEILING.of) == 0

    async def test_a_day_is_over_when_it_has_passed(self, path: Path, now: Now) -> None:
        """The host's clock jumps 400 days ahead while a process runs, and back."""
        passed = Now()
        ledger = Ledger(path, clock=HostClock(now, passed))
        await ledger.count(CEILING, 90)
        now.at += 400 * DAY
        assert ledger.spent(CEILING.of) == 90
        with pytest.raises(CeilingReached):
            await ledger.count(CEILING, 90)
        await ledger.count(CEILING, 5)
        now.at -= 400 * DAY
        assert ledger.spent(CEILING.of) == 95
        assert Ledger(path, clock=HostClock(now, passed)).spent(CEILING.of) == 95
        passed.at += DAY + SLACK_SECONDS
        now.at += DAY + SLACK_SECONDS
        assert ledger.spent(CEILING.of) == 0

    async def test_what_a_process_began_with_a_wrong_clock_forgot_it_reads_again(self, path: Path, now: Now) -> None:
        passed = Now()
        await Ledger(path, clock=HostClock(now, passed)).count(CEILING, 90)
        now.at += 400 * DAY
        ledger = Ledger(path, clock=HostClock(now, passed))
        await ledger.count(CEILING, 10)
        now.at -= 400 * DAY
        passed.at += 15
        now.at += 15
        assert ledger.spent(CEILING.of) == 100
        assert Ledger(path, clock=HostClock(now, passed)).spent(CEILING.of) == 100

    async def test_one_that_is_set_by_seconds_is_followed(self, path: Path, now: Now) -> None:
        passed = Now()
        clock = HostClock(now, passed)
        now.at += 60
        assert clock.now() == now.at
        now.at -= 200
        assert clock.now() == now.at
        assert clock.set_back == 0


class TestSize:
    @pytest.fixture(autouse=True)
    def small(self) -> Iterator[None]:
        with mock.patch.object(module, "COMPACT_BYTES", 2_000):
            yield

    async def test_what_is_a_day_old_leaves_the_file(self, path: Path, now: Now) -> None:
        ledger, other = Ledger(path, clock=HostClock(now, now)), Ledger(path, clock=HostClock(now, now))
        many = Ceiling("tron gas wallet", 10_000)
        for _ in range(200):
            now.at += DAY / 20
            await ledger.count(many, 7)
            assert other.spent(many.of) == ledger.spent(many.of) <= 20 * 7
        assert about(path).st_size < 17_000
        await other.count(many, 1)
        assert Ledger(path, clock=HostClock(now, now)).spent(many.of) == ledger.spent(many.of)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "repeat", "refuse", "wait", "restart"]), st.integers(0, 60), st.integers(0, 1)
        ),
        max_size=30,
    )
)
def test_it_is_a_sum_over_the_last_day(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Against a model: whatever is done by two processes, a ceiling is never passed and never wrongly refused."""
    path, now = tmp_path_factory.mktemp("ledger") / "signed.jsonl", Now()
    ledgers = [Ledger(path, clock=HostClock(now, now)) for _ in range(2)]
    counted: list[tuple[float, int, str]] = []

    async def walk() -> None:
        for step, number, who in steps:
            alive = [one for one in counted if one[0] > now.at - DAY]
            match step:
                case "reserve":
                    fits = sum(amount for _, amount, _ in alive) + number <= CEILING.most
                    try:
                        reservation = await ledgers[who].count(CEILING, number)
                    except CeilingReached:
                        assert not fits
                    else:
                        assert fits
                        counted.append((round(now.at, 3), number, reservation))
                case "repeat" if alive:
                    _, amount, request = alive[number % len(alive)]
                    await ledgers[who].reserve(request, "content", CEILING, amount)
                case "refuse":
                    with pytest.raises(NeverSigned):
                        await ledgers[who].refuse(uuid4().hex, "content", Refusal("terms", "too dear"))
                case "wait":
                    now.at += number * 1_000
                case "restart":
                    ledgers[who] = Ledger(path, clock=HostClock(now, now))

    with mock.patch.object(module, "in_thread", _at_once):
        asyncio.run(walk())
    assert ledgers[0].spent(CEILING.of) == sum(amount for at, amount, _ in counted if at > now.at - DAY)


async def _at_once(work):
    return work()
