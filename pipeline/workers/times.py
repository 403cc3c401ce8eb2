"""Times that the database's clock wrote while it was wrong, set back by the sweep (sql/functions/repair_times.sql)."""

from collections import Counter
from collections.abc import Mapping

from loguru import logger

from pipeline.db.rows import fetch_one
from pipeline.workers.runtime import Runtime
from pipeline.workers.slow import Statements, TooSlow

REPAIR = "sweep/repair_times"
REPAIR_SECONDS = 30.0
"""Between two checks, a dozen probes of indexes each: what waits for a wrong time waits no longer than that."""
PAGE = 5_000
"""Rows of a kind set back in one statement."""


class Times:
    """The repairs of one sweep process, made while it leads."""

    def __init__(self, runtime: Runtime) -> None:
        self.repaired: Counter[str] = Counter()
        """Rows set back since the start, by kind: flags, jobs, leases, workers, attempts."""
        self._runtime = runtime
        self._statements = Statements(runtime)

    def stats(self) -> Mapping[str, int]:
        return {f"times_{kind}": count for kind, count in self.repaired.items()}

    async def repair(self) -> Mapping[str, int]:
        """Set back what lies ahead; how many rows of each kind, without zeros. Raises Stopped."""
        found: Counter[str] = Counter()
        while True:
            try:
                page = await self._statements.ask(REPAIR, "setting back times ahead of the clock", self._page)
            except TooSlow:
                break
            found.update(page)
            if max(page.values()) < PAGE:
                break
        found = +found
        if found:
            self.repaired.update(found)
            logger.error(
                "sweep: the clock of the database was wrong: times that lay ahead were set back ({}). See that it is "
                "kept by NTP; flagpost doctor",
                ", ".join(f"{count} {kind}" for kind, count in sorted(found.items())),
            )
        return found

    async def _page(self) -> dict[str, int]:
        async with self._runtime.pool.connection() as connection:
            return await fetch_one(connection, REPAIR, rows=PAGE)
