"""What triggers did not do, found by the sweep: rows that were written while they did not fire.

The statements are in ``sql/functions/repairs.sql``. Wallets are compared with their balances a page at a time; one
sweep does as many pages as its interval allows for, and the next one goes on behind them, so that all of a million
wallets are compared within half an hour, at less than a hundredth of a processor.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from loguru import logger

from pipeline.db.rows import fetch_one, fetch_value
from pipeline.workers.runtime import Runtime
from pipeline.workers.slow import Statements, TooSlow

PAGE = 5_000
"""Wallets compared in one statement, 50 ms."""
WALLETS_A_SECOND = 700
"""Compared on average, whatever the interval of the sweep: 0.7 % of a processor."""
FIRST = UUID(int=0)
"""Before every wallet's id: where a round begins."""
JOBS = 1_000
"""Waiting jobs mended in one sweep, at most."""


class Repairs:
    """The comparing of one sweep process."""

    def __init__(self, runtime: Runtime, page: int = PAGE) -> None:
        self.up_to = FIRST
        """Id of the wallet up to which this round has compared."""
        self.rounds = 0
        """Since the start: how often all wallets were compared."""
        self._runtime = runtime
        self._statements = Statements(runtime)
        self._page = page
        self._of_round: Counter[str] = Counter()
        self._of_last_round: Counter[str] = Counter()

    def stats(self) -> Mapping[str, int | str]:
        """How far this process has compared, for the one that acts next; nothing if it never acted."""
        if self.up_to == FIRST and not self.rounds:
            return {}
        return {"compared_up_to": str(self.up_to), "compared_all": self.rounds}

    async def resume(self) -> None:
        """Go on where the sweep that acted before stopped. Raises psycopg errors."""
        async with self._runtime.pool.connection() as connection:
            self.up_to = await fetch_value(connection, "sweep/compared_up_to") or FIRST

    def forget(self) -> None:
        """Say nothing in the registry any more: another sweep compares."""
        self._runtime.troubles.say("repairs", "")

    async def cycle(self, interval_seconds: float) -> Mapping[str, int]:
        """Mend waiting jobs, and compare as many wallets as the interval is worth; what was mended, by kind, without
        zeros. Raises Stopped."""
        found: Counter[str] = Counter()
        with contextlib.suppress(TooSlow):
            found.update(await self._row("sweep/repair_jobs", jobs=JOBS))
        with contextlib.suppress(TooSlow):
            await self._compare(interval_seconds, found)
        return {kind: count for kind, count in found.items() if count}

    async def _compare(self, interval_seconds: float, found: Counter[str]) -> None:
        for _ in range(math.ceil(WALLETS_A_SECOND * interval_seconds / self._page)):
            row = await self._row("sweep/repair_wallets", after=self.up_to, wallets=self._page)
            up_to = row.pop("up_to")
            found.update(row)
            self._of_round.update(row)
            self.up_to = up_to or FIRST
            if up_to is None:
                self._end_round()
                break

    def _end_round(self) -> None:
        """Say what comes back: something goes on writing rows without triggers."""
        back = self._of_round & self._of_last_round
        alarm = "; ".join(
            f"{kind.replace('_', ' ')} again, {self._of_round[kind]} in this round over all wallets and "
            f"{self._of_last_round[kind]} in the last: something writes rows while triggers do not fire "
            "(session_replication_role = replica, a disabled trigger)"
            for kind in sorted(back)
        )
        if alarm:
            logger.error("sweep: {}; see: flagpost doctor", alarm)
        self._runtime.troubles.say("repairs", alarm)
        self._of_last_round, self._of_round = self._of_round, Counter()
        self.rounds += 1

    async def _row(self, name: str, **parameters: Any) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            async with self._runtime.pool.connection() as connection:
                return await fetch_one(connection, name, **parameters)

        return await self._statements.ask(name, "checking for what triggers did not do", ask)
