"""What doctor fails on and people should hear of without asking: the sweep checks, logs it once, and again each hour.

Few and cheap questions, each a statement of doctor's (``sql/queries/doctor``), in the words that doctor uses, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from loguru import logger

from pipeline.config import RuntimeConfig
from pipeline.db.rows import fetch
from pipeline.log import LogThrottle, span
from pipeline.workers.runtime import Runtime
from pipeline.workers.slow import Statements, TooSlow

AGAIN_SECONDS = 3600.0
"""An alarm that lasts is said again."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One question: ``says`` is formatted with the columns of a row."""

    statement: str
    """``sql/queries/doctor/<statement>.sql``."""
    says: str


JOBS_DUE = Alarm("queue_due", "{chain}: {jobs} {job_type} jobs have been due for {since}, {why}: {examples}")
FLAGS_WITHOUT_JOB = Alarm(
    "queue_flags", "{chain}: {wallets} wallets have wanted {job_type} for {since} and have no job: {examples}"
)
BALANCES_UNREAD = Alarm("wallets_unread", "{chain}: {balances} {symbol} balances have been due for {since}; {why}")
PAYMENTS_OUT = Alarm("money_out", "{chain}: {payments} payments {why}, for {since}: {examples}")
ALARMS = (JOBS_DUE, FLAGS_WITHOUT_JOB, BALANCES_UNREAD, PAYMENTS_OUT)


def worded(text: str, row: Mapping[str, Any]) -> str:
    """``text`` with the columns of ``row``: intervals as ``12 min``, times in UTC, arrays separated by commas."""
    return text.format_map({name: _plainly(value) for name, value in row.items()})


def parameters(config: RuntimeConfig) -> Mapping[str, Any]:
    """What doctor's statements are asked with, as far as the configuration says it."""
    return {
        "paused": config.paused,
        "sweep_seconds": config.sweep.interval_seconds,
        "quiet_seconds": config.queue.quiet_seconds,
        "deadline_seconds": config.queue.deadline_seconds,
        "backoff_seconds": config.queue.backoff_cap_seconds,
        "lock_seconds": config.sync.lock_seconds,
        "move_after_days": config.history.move_after_days,
        "move_failed_after_days": config.history.move_failed_after_days,
    }


class Alarms:
    """What stands still at the moment, as one process knows it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._statements = Statements(runtime)
        self._now: dict[tuple[str, ...], str] = {}
        self._said: dict[tuple[str, ...], LogThrottle] = {}

    async def check(self) -> Sequence[str]:
        """Ask, say what is new or has lasted, and show it in the registry; what stands still now. Raises Stopped."""
        now: dict[tuple[str, ...], str] = {}
        for alarm in ALARMS:
            try:
                rows = await self._rows(alarm)
            except TooSlow:  # nobody knows whether that is over
                now |= {key: text for key, text in self._now.items() if key[0] == alarm.statement}
                continue
            for row in rows:
                if row.get("level", "fail") == "fail":
                    key = alarm.statement, *(str(row.get(name, "")) for name in ("chain", "job_type", "symbol"))
                    now[key] = worded(alarm.says, row)
        self._now = now
        for key, text in now.items():
            if self._said.setdefault(key, LogThrottle(AGAIN_SECONDS)).due():
                logger.error("sweep: {}; see: flagpost doctor", text)
        for key in [key for key in self._said if key not in now]:
            del self._said[key]
            logger.info("sweep: over: {}", " ".join(part for part in key if part))
        self._runtime.troubles.say("alarms", "; ".join(now.values()))
        return list(now.values())

    def forget(self) -> None:
        """Say nothing in the registry any more: another sweep checks."""
        self._runtime.troubles.say("alarms", "")

    async def _rows(self, alarm: Alarm) -> list[dict[str, Any]]:
        async def ask() -> list[dict[str, Any]]:
            async with self._runtime.pool.connection() as connection:
                return await fetch(connection, f"doctor/{alarm.statement}", **parameters(self._runtime.config))

        return await self._statements.ask(f"doctor/{alarm.statement}", "checking for work that is not done", ask)


def _plainly(value: Any) -> Any:
    if isinstance(value, timedelta):
        return span(value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return value
