"""What is sent of an alert, in the form that each channel takes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

VERSION = 1
"""Of the webhook's document."""


class NoticeEvent(StrEnum):
    """Why it is sent."""

    RAISED = "raised"
    REMINDER = "reminder"
    RESOLVED = "resolved"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert at one moment."""

    delivery: str
    """The same for each attempt."""
    event: NoticeEvent
    alert_id: UUID
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
    count: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """A row of ``alerts/claim``."""
        fields = {name: row[name] for name in cls.__slots__ if name not in ("delivery", "event")}
        return cls(delivery=str(row["delivery_id"]), event=NoticeEvent(row["event"]), **fields)

    @property
    def title(self) -> str:
        """One line."""
        match self.event:
            case NoticeEvent.RESOLVED:
                return f"resolved: {self.summary}"
            case NoticeEvent.REMINDER:
                return f"still {self.severity}: {self.summary}"
            case NoticeEvent.TEST:
                return f"test: {self.summary}"
        return f"{self.severity}: {self.summary}"

    @property
    def text(self) -> str:
        """A few lines for people."""
        lines = [self.title, ""]
        if self.event is not NoticeEvent.RESOLVED:
            lines += [f"What to do: {self.action}", ""]
        lines += [f"Rule {self.rule}" + (f", of {self.subject}" if self.subject else "")]
        lines += [f"Raised {_moment(self.raised_at)}, last seen {_moment(self.last_seen_at)}, {self.count} times"]
        if self.resolved_at is not None:
            lines.append(f"Resolved {_moment(self.resolved_at)}")
        elif self.event is not NoticeEvent.TEST:
            lines.append(f"No more reminders: flagpost alerts ack {self.alert_id}")
        return "\n".join(lines) + "\n"

    def document(self) -> bytes:
        """The body of the webhook: JSON, times ISO 8601 in UTC, the value a decimal string."""
        alert = {
            "id": str(self.alert_id),
            "rule": self.rule,
            "subject": self.subject,
            "severity": self.severity,
            "summary": self.summary,
            "action": self.action,
            "value": None if self.value is None else f"{self.value:f}",
            "raised_at": _iso(self.raised_at),
            "last_seen_at": _iso(self.last_seen_at),
            "resolved_at": _iso(self.resolved_at),
            "acknowledged_at": _iso(self.acknowledged_at),
            "count": self.count,
        }
        body = {"version": VERSION, "delivery": self.delivery, "event": self.event.value, "alert": alert}
        return json.dumps(body, ensure_ascii=False).encode()

    def slack(self) -> bytes:
        """The body of Slack's incoming webhook: a fallback text, and the same as blocks."""
        head = {"type": "mrkdwn", "text": f"*{_escaped(self.title)}*"}
        blocks: list[dict[str, Any]] = [{"type": "section", "text": head}]
        if self.event is not NoticeEvent.RESOLVED:
            blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": f"→ {_escaped(self.action)}"}})
        place = " · ".join(part for part in (self.rule, self.subject, str(self.alert_id)) if part)
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _escaped(place)}]})
        return json.dumps({"text": _escaped(self.title), "blocks": blocks}, ensure_ascii=False).encode()


def _escaped(text: str) -> str:
    """As Slack demands: what is between < and > would be a link or a mention of everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
