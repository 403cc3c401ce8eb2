"""What operators see of alerts and do about them. Each action is one SQL function (sql/functions/admin_alerts.sql),
which writes admin_actions."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection

from pipeline.admin.errors import InvalidValue, NotFound
from pipeline.admin.refusals import act
from pipeline.alerts.channels import Channel, DeliveryFailed
from pipeline.alerts.notice import Notice, NoticeEvent
from pipeline.alerts.rules import RULES


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert."""

    id: UUID
    rule: str
    subject: str
    severity: str
    summary: str
    action: str
    value: Decimal | None
    raised_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    count: int
    """Evaluations that found it."""
    silenced: bool


@dataclass(frozen=True, slots=True)
class AlertDelivery:
    """What was sent of an alert, or waits."""

    id: int
    channel: str
    event: str
    state: str
    attempts: int
    next_attempt_at: datetime
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Silence:
    """Deliveries that are held back until a time, by patterns of rule and subject."""

    id: UUID
    rule: str
    subject: str
    until: datetime
    reason: str
    silenced_by: str
    created_at: datetime


async def alerts(connection: AsyncConnection[Any], *, resolved: bool = False, limit: int = 100) -> list[Alert]:
    """Open alerts, critical ones first; with ``resolved`` the newest of those that are over, too."""
    return [Alert(**row) for row in await act(connection, "alerts/list", resolved=resolved, limit=limit)]


async def show(connection: AsyncConnection[Any], alert: str) -> tuple[Alert, list[AlertDelivery]]:
    """One alert by its id, and what was sent of it. Raises NotFound."""
    found = await act(connection, "alerts/show", alert=alert)
    if not found:
        raise NotFound(f'there is no alert "{alert}"', "alerts are named by alerts.id: flagpost alerts list")
    one = Alert(**found[0])
    return one, [AlertDelivery(**row) for row in await act(connection, "alerts/deliveries", alert=one.id)]


async def acknowledge(connection: AsyncConnection[Any], alert: str, *, admin: UUID | None = None) -> tuple[str, str]:
    """End the reminders of an open alert; its rule and subject. Raises NotFound; Conflict for one that is resolved or
    was acknowledged before."""
    (row,) = await act(connection, "alerts/acknowledge", alert=alert, admin=admin)
    return row["rule"], row["subject"]


async def silence(
    connection: AsyncConnection[Any],
    rule: str,
    length: timedelta,
    reason: str,
    *,
    subject: str = "*",
    admin: UUID | None = None,
) -> tuple[UUID, datetime]:
    """Hold back deliveries of alerts whose rule and subject fit these patterns (``*``: any characters); the silence's
    id, and when it ends. Raises InvalidValue for a length that is no time ahead within a year, for what fits no rule,
    and for no reason."""
    _refuse_unless_it_fits(rule)
    (row,) = await act(
        connection, "alerts/silence", rule=rule, subject=subject, length=length, reason=reason, admin=admin
    )
    return row["id"], row["until"]


async def end_silence(
    connection: AsyncConnection[Any], silence_id: str, *, admin: UUID | None = None
) -> tuple[str, str]:
    """End a silence; its patterns. Raises NotFound; Conflict for one that has ended."""
    (row,) = await act(connection, "alerts/end_silence", silence=silence_id, admin=admin)
    return row["rule"], row["subject"]


async def silences(connection: AsyncConnection[Any]) -> list[Silence]:
    """Those in force."""
    return [Silence(**row) for row in await act(connection, "alerts/silences")]


async def send_test(channels: Mapping[str, Channel]) -> Mapping[str, str | None]:
    """Send a test message by each channel, one after the other; by its name why it did not arrive, None: it did."""
    outcome: dict[str, str | None] = {}
    for name, channel in channels.items():
        try:
            await channel.send(_test_notice())
        except DeliveryFailed as failure:
            outcome[name] = str(failure)
        else:
            outcome[name] = None
    return outcome


def _refuse_unless_it_fits(pattern: str) -> None:
    rules = [rule.id for rule in RULES]
    # As alert_pattern_fits() has it: * stands for any characters, and nothing else does.
    fits = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    if not any(fits.fullmatch(rule) for rule in rules):
        near = difflib.get_close_matches(pattern, rules, n=3, cutoff=0.5)
        raise InvalidValue(
            f'"{pattern}" fits no rule',
            f"did you mean {' or '.join(near)}?" if near else f"the rules: {', '.join(rules)}",
        )


def _test_notice() -> Notice:
    now = datetime.now(UTC)
    return Notice(
        delivery=f"test-{uuid4()}",
        event=NoticeEvent.TEST,
        alert_id=uuid4(),
        rule="test",
        subject="",
        severity="warning",
        summary="alerts of Flagpost arrive here",
        action="nothing: somebody typed flagpost alerts test",
        value=None,
        raised_at=now,
        last_seen_at=now,
        resolved_at=None,
        acknowledged_at=None,
        count=1,
    )
