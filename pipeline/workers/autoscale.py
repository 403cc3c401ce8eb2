"""Auto-scaling: the sweep that leads lets the database decide how many workers there shall be
(``sql/functions/scaling.sql``). Agents of hosts, or KEDA, bring them about."""

import contextlib
from typing import Any

from loguru import logger

from pipeline.db.rows import fetch
from pipeline.workers.runtime import Runtime
from pipeline.workers.slow import Statements, TooSlow

EVALUATE_SECONDS = 15.0


class Autoscaling:
    """The evaluations of one sweep process, made while it leads."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._statements = Statements(runtime)

    async def evaluate(self) -> None:
        """Change the number of workers where the load asks for it. Raises Stopped."""
        if self._runtime.config.scaling.engine == "off":
            return
        with contextlib.suppress(TooSlow):
            for change in await self._statements.ask("scaling/scale", "scaling the workers", self._scale):
                logger.info(
                    "sweep: {}{}: {} workers instead of {}: {}",
                    change["type"],
                    f" of {change['blockchain']}" if change["blockchain"] else "",
                    change["wanted"],
                    change["workers"],
                    change["reason"],
                )

    async def _scale(self) -> list[dict[str, Any]]:
        async with self._runtime.pool.connection() as connection:
            return await fetch(connection, "scaling/scale")
