"""Sends what ``alert_deliveries`` holds: at least once each, by one process at a time.

    pending ──(claimed)──▶ being sent ──(arrived)──▶ delivered
       ▲                        │ (failed, or the lease ended without a word)
       └──────(back-off)────────┘──(a day after the first attempt)──▶ failed

No transaction is open while something is sent.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from loguru import logger

from pipeline.alerts.channels import Channel, DeliveryFailed
from pipeline.alerts.notice import Notice
from pipeline.db.pool import Pool
from pipeline.db.rows import fetch, fetch_value

BATCH = 10
"""Sent at the same time."""
LEASE_SECONDS = 60.0
"""Longer than any channel takes: then another process sends it again."""


class Outbox:
    """The deliveries of one process."""

    def __init__(self, pool: Pool, channels: Mapping[str, Channel], *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.sent = 0
        """Since the start."""
        self._pool = pool
        self._channels = channels
        self._lease_seconds = lease_seconds

    async def send_due(self) -> int:
        """Send a batch of what is due; how many were tried. Raises psycopg.Error: what was sent and not noted is sent
        again."""
        async with self._pool.connection() as connection:
            claimed = await fetch(
                connection,
                "alerts/claim",
                channels=list(self._channels),
                most=BATCH,
                lease_seconds=self._lease_seconds,
            )
        outcomes = await asyncio.gather(*(self._send(row) for row in claimed), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(claimed)

    async def _send(self, row: Mapping[str, Any]) -> None:
        notice = Notice.of(row)
        error: str | None = None
        try:
            await self._channels[row["channel"]].send(notice)
        except DeliveryFailed as failure:
            error = str(failure)
        async with self._pool.connection() as connection:
            state = await fetch_value(
                connection, "alerts/note", delivery_id=row["delivery_id"], attempt=row["attempt"], error=error
            )
        if error is None:
            self.sent += 1
            logger.info("alert {} sent by {}: {}", notice.event, row["channel"], notice.title)
        else:
            level, then = ("ERROR", "given up") if state == "failed" else ("WARNING", "it is tried again")
            logger.log(level, "alert {} not sent by {}, {}: {}", notice.event, row["channel"], then, error)
