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

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.signing import ledger as module
from pipeline.signing.clock import SLACK_SECONDS, HostClock
from pipeline.signing.errors import CeilingReached, LedgerUnavailable
from pipeline.signing.ledger import YOUNG_SECONDS, Ceiling, SpendingLedger

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
        await SpendingLedger(path, clock=HostClock(now, now)).reserve(CEILING, 60)
        assert fsync.called
    (line,) = lines(path)
    assert {key: value for key, value in line.items() if key != "id"} == {
        "at": now.at,
        "of": CEILING.of,
        "spent": "60",
    }
    assert about(path).st_mode & 0o077 == 0


async def test_a_ceiling_is_not_passed(path: Path, now: Now) -> None:
    ledger = SpendingLedger(path, clock=HostClock(now, now))
    await ledger.reserve(CEILING, 60)
    with pytest.raises(CeilingReached) as reached:
        await ledger.reserve(CEILING, 41)
    assert (reached.value.spent, reached.value.asked, reached.value.free_at) == (60, 41, now.at + DAY)
    await ledger.reserve(CEILING, 40)
    await ledger.reserve(Ceiling("evm 56 wallets", 100), 100)
    assert ledger.spent(CEILING.of) == 100


async def test_a_restart_forgets_nothing_and_a_day_does(path: Path, now: Now) -> None:
    await SpendingLedger(path, clock=HostClock(now, now)).reserve(CEILING, 100)
    now.at += DAY - 1
    again = SpendingLedger(path, clock=HostClock(now, now))
    with pytest.raises(CeilingReached):
        await again.reserve(CEILING, 1)
    now.at += 2
    await again.reserve(CEILING, 100)


async def test_what_was_released_can_be_spent(path: Path, now: Now) -> None:
    ledger = SpendingLedger(path, clock=HostClock(now, now))
    reservation = await ledger.reserve(CEILING, 100)
    await ledger.release(reservation)
    await ledger.reserve(CEILING, 100)
    assert SpendingLedger(path, clock=HostClock(now, now)).spent(CEILING.of) == 100


async def test_who_waits_at_the_same_moment_shares_an_fsync(path: Path, now: Now) -> None:
    ledger = SpendingLedger(path, clock=HostClock(now, now))
    await ledger.reserve(CEILING, 0)
    with mock.patch.object(module.os, "fsync", wraps=os.fsync) as fsync:
        done = await asyncio.gather(*(ledger.reserve(CEILING, 1) for _ in range(120)), return_exceptions=True)
    assert sum(isinstance(one, CeilingReached) for one in done) == 20
    assert fsync.call_count < 5


def _spend(path: Path, amount: int, times: int, said: "multiprocessing.Queue[int]") -> None:
    async def spend() -> int:
        ledger, spent = SpendingLedger(path), 0
        for _ in range(times):
            with contextlib.suppress(CeilingReached):
                await ledger.reserve(CEILING, amount)
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
    assert SpendingLedger(path).spent(CEILING.of) == 99


class TestTrouble:
    async def test_nothing_is_signed_where_nothing_can_be_written(self, tmp_path: Path, now: Now) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LedgerUnavailable, match=r"cannot be written down in .*signed\.jsonl.*nothing is signed"):
            await SpendingLedger(tmp_path / "file" / "signed.jsonl", clock=HostClock(now, now)).reserve(CEILING, 1)

    @pytest.mark.parametrize("call", ["pwrite", "fsync"])
    async def test_a_full_disk(self, path: Path, now: Now, call: str) -> None:
        ledger = SpendingLedger(path, clock=HostClock(now, now))
        await ledger.reserve(CEILING, 1)
        full = OSError(28, "No space left on device")
        with (
            mock.patch.object(module.os, call, side_effect=full),
            pytest.raises(LedgerUnavailable, match="No space left on device"),
        ):
            await ledger.reserve(CEILING, 50)
        assert len(lines(path)) == 1, "nothing was signed for it, so it is not counted"
        await ledger.reserve(CEILING, 99)

    async def test_a_line_that_does_not_end_is_cut_off(self, path: Path, now: Now) -> None:
        await SpendingLedger(path, clock=HostClock(now, now)).reserve(CEILING, 10)
        append(path, '{"id":"torn","at":17640')
        ledger = SpendingLedger(path, clock=HostClock(now, now))
        await ledger.reserve(CEILING, 20)
        assert [line["spent"] for line in lines(path)] == ["10", "20"]

    @pytest.mark.parametrize(
        "line",
        [
            "nonsense",
            "[]",
            '{"id":"a","at":1764000000,"of":"evm 56 gas wallet"}',
            '{"id":"a","at":1764000000,"of":"evm 56 gas wallet","spent":"-5"}',
            '{"id":"a","at":NaN,"of":"evm 56 gas wallet","spent":"5"}',
            '{"id":"a","at":1e999,"of":"evm 56 gas wallet","spent":"5"}',
            '{"id":"","at":1764000000,"of":"evm 56 gas wallet","spent":"5"}',
            '{"id":"a","at":1764000000,"of":"evm 56 gas wallet","spent":"many"}',
        ],
    )
    async def test_a_line_that_says_nothing_stops_signing(self, path: Path, now: Now, line: str) -> None:
        append(path, line + "\n")
        with pytest.raises(LedgerUnavailable, match="has a line that cannot be read"):
            await SpendingLedger(path, clock=HostClock(now, now)).reserve(CEILING, 1)

    async def test_a_process_that_stands_still_with_the_lock(self, path: Path, now: Now) -> None:
        await SpendingLedger(path, clock=HostClock(now, now)).reserve(CEILING, 1)
        with path.open() as held, mock.patch.object(module, "LOCK_SECONDS", 0.05):
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(LedgerUnavailable, match="another process has held its lock"):
                await SpendingLedger(path, clock=HostClock(now, now)).reserve(CEILING, 1)

    async def test_who_gives_up_waiting_leaves_the_others_alone(self, path: Path, now: Now) -> None:
        ledger = SpendingLedger(path, clock=HostClock(now, now))
        first = asyncio.create_task(ledger.reserve(CEILING, 10))
        second = asyncio.create_task(ledger.reserve(CEILING, 20))
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
        await SpendingLedger(path, clock=HostClock(now, now)).reserve(CEILING, 70)
        now.at -= 400 * DAY
        ledger = SpendingLedger(path, clock=HostClock(now, now))
        with pytest.raises(CeilingReached):
            await ledger.reserve(CEILING, 31)
        await ledger.reserve(CEILING, 5)
        now.at += YOUNG_SECONDS + 1
        await ledger.reserve(CEILING, 0)  # which writes down since when they count
        now.at += DAY + 1
        assert SpendingLedger(path, clock=HostClock(now, now)).spent(CEILING.of) == 0

    async def test_a_day_is_over_when_it_has_passed(self, path: Path, now: Now) -> None:
        """The host's clock jumps 400 days ahead while a process runs, and back."""
        passed = Now()
        ledger = SpendingLedger(path, clock=HostClock(now, passed))
        await ledger.reserve(CEILING, 90)
        now.at += 400 * DAY
        assert ledger.spent(CEILING.of) == 90
        with pytest.raises(CeilingReached):
            await ledger.reserve(CEILING, 90)
        await ledger.reserve(CEILING, 5)
        now.at -= 400 * DAY
        assert ledger.spent(CEILING.of) == 95
        assert SpendingLedger(path, clock=HostClock(now, passed)).spent(CEILING.of) == 95
        passed.at += DAY + SLACK_SECONDS
        now.at += DAY + SLACK_SECONDS
        assert ledger.spent(CEILING.of) == 0

    async def test_what_a_process_began_with_a_wrong_clock_forgot_it_reads_again(self, path: Path, now: Now) -> None:
        passed = Now()
        await SpendingLedger(path, clock=HostClock(now, passed)).reserve(CEILING, 90)
        now.at += 400 * DAY
        ledger = SpendingLedger(path, clock=HostClock(now, passed))
        await ledger.reserve(CEILING, 10)
        now.at -= 400 * DAY
        passed.at += 15
        now.at += 15
        assert ledger.spent(CEILING.of) == 100
        assert SpendingLedger(path, clock=HostClock(now, passed)).spent(CEILING.of) == 100

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
        ledger, other = SpendingLedger(path, clock=HostClock(now, now)), SpendingLedger(path, clock=HostClock(now, now))
        many = Ceiling("tron gas wallet", 10_000)
        for _ in range(200):
            now.at += DAY / 20
            await ledger.reserve(many, 7)
            assert other.spent(many.of) == ledger.spent(many.of) <= 20 * 7
        assert about(path).st_size < 10_000
        await other.reserve(many, 1)
        assert SpendingLedger(path, clock=HostClock(now, now)).spent(many.of) == ledger.spent(many.of)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "release", "wait", "restart"]), st.integers(0, 60), st.integers(0, 1)),
        max_size=30,
    )
)
def test_it_is_a_sum_over_the_last_day(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Against a model: whatever is done by two processes, a ceiling is never passed and never wrongly refused."""
    path, now = tmp_path_factory.mktemp("ledger") / "signed.jsonl", Now()
    ledgers = [SpendingLedger(path, clock=HostClock(now, now)) for _ in range(2)]
    counted: list[tuple[float, int, object]] = []

    async def walk() -> None:
        for step, number, who in steps:
            alive = [one for one in counted if one[0] > now.at - DAY]
            match step:
                case "reserve":
                    fits = sum(amount for _, amount, _ in alive) + number <= CEILING.most
                    try:
                        reservation = await ledgers[who].reserve(CEILING, number)
                    except CeilingReached:
                        assert not fits
                    else:
                        assert fits
                        counted.append((round(now.at, 3), number, reservation))
                case "release" if counted:
                    await ledgers[who].release(counted.pop()[2])  # type: ignore[arg-type]
                case "wait":
                    now.at += number * 1_000
                case "restart":
                    ledgers[who] = SpendingLedger(path, clock=HostClock(now, now))

    with mock.patch.object(module, "in_thread", _at_once):
        asyncio.run(walk())
    assert ledgers[0].spent(CEILING.of) == sum(amount for at, amount, _ in counted if at > now.at - DAY)


async def _at_once(work):
    return work()
