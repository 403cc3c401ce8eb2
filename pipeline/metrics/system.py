"""What the whole is, as the sweep that leads reads it from the database when Prometheus asks: jobs, flags, payments,
budgets, chains, balances, workers, alerts. The statements are in ``sql/queries/metrics``; each is bounded.

A row names its labels; the columns that begin with ``value_`` are the measures.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from loguru import logger
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipeline.db.errors import DATABASE_GONE
from pipeline.db.pool import Pool, cut_after
from pipeline.db.rows import fetch
from pipeline.printable import reason

KEPT_SECONDS = 5.0
"""How old an answer may be: several that scrape at once ask the database once."""
ANSWER_SECONDS = 5.0
"""A statement that takes longer is given up; its last answer stays."""


@dataclass(frozen=True, slots=True)
class SystemMeasure:
    """One column of a statement."""

    statement: str
    """``sql/queries/metrics/<statement>.sql``."""
    column: str
    """Its name without ``value_``."""
    name: str
    help: str
    label_names: str = ""
    """Columns, with spaces between them."""

    @property
    def labels(self) -> list[str]:
        return self.label_names.split()


MEASURES: Sequence[SystemMeasure] = (
    SystemMeasure("jobs", "jobs", "flagpost_jobs_live", "Jobs that wait or run; 10,000 at the most", "type state"),
    SystemMeasure(
        "ended", "jobs", "flagpost_jobs_ended", "Jobs that have ended, but those retried since", "type status chain"
    ),
    SystemMeasure(
        "failed", "jobs", "flagpost_jobs_failed", "Jobs that failed within the hour; 10,000 at the most", "type chain"
    ),
    SystemMeasure("due", "due", "flagpost_work_due", "Work that is due; 10,000 jobs of a type at the most", "type"),
    SystemMeasure("due", "age", "flagpost_work_due_age_seconds", "How long the oldest of it has been due", "type"),
    SystemMeasure("due", "live", "flagpost_workers_live", "Workers that live and are not stopped", "type"),
    SystemMeasure(
        "flags", "wallets", "flagpost_flagged_wallets", "Wallets whose flag is up; 10,000 at the most", "chain type"
    ),
    SystemMeasure("payments", "payments", "flagpost_payments_out", "Payments that are not settled", "chain kind state"),
    SystemMeasure(
        "payments", "age", "flagpost_payments_out_age_seconds", "The age of the oldest of them", "chain kind state"
    ),
    SystemMeasure("budgets", "ratio", "flagpost_gas_budget_ratio", "Share of a gas budget spent", "chain budget"),
    SystemMeasure(
        "chains", "behind", "flagpost_chain_behind_seconds", "The age of the final block that was read", "chain purpose"
    ),
    SystemMeasure("senders", "senders", "flagpost_senders_blocked", "Senders that pay nothing", "chain why"),
    SystemMeasure(
        "balances", "overdue", "flagpost_balances_overdue", "Balances that are due for too long", "chain asset"
    ),
    SystemMeasure(
        "balances", "failing", "flagpost_balances_failing", "Balances whose error_count is above 10", "chain asset"
    ),
    SystemMeasure("balances", "stale", "flagpost_stale_locks", "Locks that ended and are still there", "chain asset"),
    SystemMeasure("workers", "workers", "flagpost_workers", "Workers by their health", "type health"),
    SystemMeasure("alerts", "alerts", "flagpost_alerts_open", "Alerts that stand", "rule severity"),
    SystemMeasure(
        "server", "transaction", "flagpost_oldest_transaction_seconds", "The age of the oldest open transaction"
    ),
    SystemMeasure("server", "health", "flagpost_system_health", "0 healthy, 1 paused, 2 degraded, 3 down"),
)
"""Everything that is read."""


class SystemMeasures:
    """The last answers of the database. ``read`` before ``families``."""

    def __init__(self, pool: Pool) -> None:
        self.errors = 0
        """Statements that gave no answer."""
        self._pool = pool
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def read(self) -> None:
        """Ask the database, unless that was done lately. A statement that fails leaves its last answer."""
        async with self._reading:
            if time.monotonic() - self._read_at < KEPT_SECONDS:
                return
            for name in dict.fromkeys(measure.statement for measure in MEASURES):
                try:
                    self._rows[name] = await self._ask(name)
                except (psycopg.Error, *DATABASE_GONE) as error:  # whatever it is: a scrape has what there is
                    self.errors += 1
                    logger.debug("metrics/{}: {}", name, reason(error))
            self._read_at = time.monotonic()

    def families(self) -> Iterable[Metric]:
        """What was read."""
        for measure in MEASURES:
            if measure.statement not in self._rows:
                continue
            family = GaugeMetricFamily(measure.name, measure.help, labels=measure.labels)
            for row in self._rows[measure.statement]:
                if (value := row[f"value_{measure.column}"]) is not None:
                    family.add_metric([str(row[label]) for label in measure.labels], float(value))
            yield family
        yield CounterMetricFamily("flagpost_measuring_errors", "Statements for these measures that failed", self.errors)

    async def _ask(self, name: str) -> list[dict[str, Any]]:
        async with self._pool.connection(ANSWER_SECONDS) as connection:
            with cut_after(ANSWER_SECONDS, connection):
                return await fetch(connection, f"metrics/{name}")
