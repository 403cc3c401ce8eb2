"""What the tests of alerts share: a desk that evaluates rules, and channels that do as told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from pipeline.alerts.channels import Channel, DeliveryFailed
from pipeline.alerts.notice import Notice
from pipeline.alerts.rules import RULES
from pipeline.config import RuntimeConfig
from pipeline.db.pool import Connection, Pool
from pipeline.settings import Settings
from pipeline.workers.alerts import Alerts
from tests.db.test_repairs import Alone
from tests.db.worker_kit import executor_pool, rows


class Desk(Alone):
    """As much of a runtime as alerts need."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.config = RuntimeConfig()
        self.settings = Settings(database_url="postgresql://nobody@nowhere/none")

    def configure(self, **alerts: Any) -> None:
        """Keys of ``alerts.*``."""
        self.config = self.config.model_copy(update={"alerts": self.config.alerts.model_copy(update=alerts)})

    @property
    def last_error(self) -> str:
        return str(self.troubles)


class Inbox:
    """A channel that keeps what it gets, and refuses as often as it is told to."""

    def __init__(self, name: str = "webhook", *, refuses: int = 0) -> None:
        self.name = name
        self.refuses = refuses
        self.got: list[Notice] = []
        self.during: Callable[[], Any] | None = None

    @property
    def events(self) -> list[tuple[str, str]]:
        """What happened, and to which rule."""
        return [(notice.event.value, notice.rule) for notice in self.got]

    async def send(self, notice: Notice) -> None:
        if self.during is not None:
            await self.during()
        if self.refuses:
            self.refuses -= 1
            raise DeliveryFailed("answered 503: no")
        self.got.append(notice)


@contextlib.asynccontextmanager
async def alerts_of(dsn: str, *channels: Channel) -> AsyncIterator[tuple[Alerts, Desk]]:
    """Evaluation under the sweep's role; it sends nothing by itself."""
    async with executor_pool(dsn) as pool:
        desk = Desk(pool)
        alerts = Alerts(desk, asyncio.Event(), channels={one.name: one for one in channels})  # type: ignore[arg-type]
        try:
            yield alerts, desk
        finally:
            await alerts.close()


async def evaluate(alerts: Alerts) -> None:
    """Every rule, once."""
    await alerts.evaluate(RULES)


async def open_alerts(connection: Connection) -> Mapping[tuple[str, str], dict[str, Any]]:
    """What is raised and open, by rule and subject."""
    found = await rows(connection, "SELECT * FROM alerts WHERE resolved_at IS NULL AND raised_at IS NOT NULL")
    return {(row["rule"], row["subject"]): row for row in found}


async def lasts(connection: Connection, *, seconds: int = 3600) -> None:
    """Let everything that was found have been found so long ago."""
    await connection.execute("UPDATE alerts SET first_seen_at = first_seen_at - make_interval(secs => %s)", [seconds])
