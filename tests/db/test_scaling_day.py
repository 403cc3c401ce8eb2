"""A simulated day of load, minute by minute: jobs fall due and are done, and ``scale_by_load`` decides by their rows.

Run with -s, it prints the figures of docs/operating.md."""

import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pipeline.db.pool import Connection
from tests.db.sessions import rows
from tests.db.worker_kit import configure
from tests.seed import Chain, add_wallets

MINUTES = 24 * 60
RATE = 10
"""Jobs that one worker does in a minute: one that waits for slow nodes."""
BURSTS = (9 * 60, 13 * 60, 20 * 60)
"""The minutes in which ten begin with 100 more jobs each."""
WALLETS = 2000
"""More than there are jobs at once: each has one job at most."""
SCALED = "SELECT wanted FROM scale_by_load(%s)"
COOLDOWN = timedelta(seconds=300)


def load(minute: int) -> int:
    """Jobs that fall due in a minute: a day's wave, a quiet night, and three bursts of ten minutes."""
    hour = minute / 60
    wave = 15 * math.sin(math.pi * (hour - 6) / 16) if 6 <= hour <= 22 else 1
    return round(max(0, wave)) + (100 if any(begin <= minute < begin + 10 for begin in BURSTS) else 0)


@dataclass
class Day:
    """What a day comes to."""

    worker_hours: float = 0.0
    longest_wait: int = 0
    """Minutes between the time a job fell due and the one in which it was taken."""
    due: deque[int] = field(default_factory=deque)
    """The minute in which each waiting job fell due, the oldest first."""

    def minute(self, now: int, workers: int) -> tuple[int, int]:
        """How many jobs fall due in this minute, and how many so many workers do."""
        self.due.extend([now] * load(now))
        done = min(len(self.due), RATE * workers)
        if done:
            self.longest_wait = max(self.longest_wait, now - self.due[0])
        for _ in range(done):
            self.due.popleft()
        self.worker_hours += workers / 60
        return load(now), done


def fixed(workers: int) -> Day:
    """The same day with a number of workers that never changes."""
    day = Day()
    for now in range(MINUTES):
        day.minute(now, workers)
    return day


def shown(name: str, day: Day, changes: int = 0) -> str:
    return f"{name:12} {day.worker_hours:4.0f} worker hours, longest wait {day.longest_wait:3} min, {changes:2} changes"


async def test_a_day_of_load(connection: Connection, tron: Chain) -> None:
    """Two evaluate in each minute, a second apart, as while the lead passes from one sweep to another."""
    begins = datetime.now(UTC) - timedelta(days=2)
    await configure(connection, scaling__engine="agent")
    await connection.execute(
        "INSERT INTO worker_targets (type, workers, set_at) VALUES ('gas-topup', 1, %s)", [begins - COOLDOWN]
    )
    addresses = itertools.cycle([wallet.address for wallet in await add_wallets(connection, tron, WALLETS)])
    names = itertools.count()
    day, workers = Day(), 1
    changed_at: list[datetime] = []
    for minute in range(MINUTES):
        now = begins + timedelta(minutes=minute)
        arrived, done = day.minute(minute, workers)
        async with connection.transaction():
            jobs = [(f"day-{next(names)}", next(addresses)) for _ in range(arrived)]
            await connection.execute(
                "INSERT INTO job_logs (job_id, job_type, wallet_address, run_at)"
                " SELECT id, 'gas-topup', address, %s FROM unnest(%s::text[], %s::text[]) AS new (id, address)",
                [now, [name for name, _ in jobs], [address for _, address in jobs]],
            )
            await connection.execute(
                "DELETE FROM job_logs WHERE id = ANY (ARRAY("
                "   SELECT id FROM job_logs WHERE job_type = 'gas-topup' AND queued AND NOT awaiting_chain"
                "   ORDER BY priority DESC, run_at, seq LIMIT %s))",
                [done],
            )
        for evaluated_at in (now, now + timedelta(seconds=1)):
            for (wanted,) in await rows(connection, SCALED, evaluated_at):
                workers = wanted
                changed_at.append(evaluated_at)
    audited = await rows(
        connection,
        "SELECT (details ->> 'before')::integer, (details ->> 'after')::integer, (details ->> 'depth')::integer"
        " FROM admin_actions WHERE action_type = 'workers.autoscale' ORDER BY id",
    )
    one, ten = fixed(1), fixed(10)
    table = [shown("one worker", one), shown("scaled", day, len(audited)), shown("ten workers", ten)]
    print("", *table, sep="\n")  # noqa: T201 - read by who writes docs/operating.md
    assert len(audited) == len(changed_at) > 10
    assert all(later - earlier >= COOLDOWN for earlier, later in itertools.pairwise(changed_at))
    assert [before for before, _, _ in audited] == [1] + [after for _, after, _ in audited[:-1]]
    for before, after, depth in audited:
        assert 1 <= after <= 10
        assert after - before in ((1, 2) if depth > 50 else (-1,))
        assert depth > 50 or depth < 5
    assert day.worker_hours < ten.worker_hours / 2
    assert day.longest_wait < one.longest_wait / 4
    assert workers == 1, "the night leaves the fewest"
