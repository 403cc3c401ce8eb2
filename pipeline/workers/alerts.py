"""Alerts, by the sweep that leads: rules are evaluated on a timer, and a task beside it sends what is to be sent.

A rule whose statement is broken off, or fails, leaves its alerts as they are; the others are evaluated all the same.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from loguru import logger
from psycopg.types.json import Jsonb

from pipeline.alerts.channels import Channel, configured, missing
from pipeline.alerts.outbox import BATCH, Outbox
from pipeline.alerts.rules import RULES, AlertRule, FoundAlert
from pipeline.alerts.words import parameters
from pipeline.db.errors import DATABASE_GONE
from pipeline.db.rows import fetch, fetch_one, fetch_value
from pipeline.log import LogThrottle
from pipeline.printable import reason
from pipeline.workers.process import Stopped
from pipeline.workers.runtime import Runtime
from pipeline.workers.slow import Statements, TooSlow

SEND_SECONDS = 5.0
"""Between two questions for deliveries that are due, where no evaluation wrote one."""
FORGET_SECONDS = 3600.0
"""Between two deletions of what was resolved 90 days ago."""
WORK_SECONDS = 10.0
"""No further rule is evaluated in a turn that took so long; the next one goes on there. The sweep has more to do."""
SHOWN = 5
"""Critical alerts in the sweep's row of worker_registry."""
SAY_AGAIN_SECONDS = 3600.0
"""A rule that fails is logged so often."""


class Alerts:
    """Evaluation and delivery of one sweep process."""

    def __init__(
        self, runtime: Runtime, acting: asyncio.Event, *, channels: Mapping[str, Channel] | None = None
    ) -> None:
        """``acting``: set while this sweep leads. ``channels``: None: those that the environment names."""
        self.next_at = _now()
        """When the rules are evaluated next, by the clock of the event loop."""
        self.evaluations = 0
        self._runtime = runtime
        self._acting = acting
        self._channels = configured(runtime.settings) if channels is None else channels
        if lack := missing(runtime.settings):
            logger.warning("sweep: {}", lack)
        self._outbox = Outbox(runtime.pool, self._channels)
        self._statements = Statements(runtime)
        self._said: dict[str, LogThrottle] = {}
        self._next_forget = 0.0
        self._first = 0
        """Place of the rule that the next turn begins with."""
        self._written = asyncio.Event()
        self._sending = asyncio.create_task(self._keep_sending(), name="alerts") if self._channels else None

    def stats(self) -> Mapping[str, int]:
        """Counts since the start."""
        return {"alert_evaluations": self.evaluations, "alerts_sent": self._outbox.sent}

    async def evaluate_if_due(self) -> None:
        """Evaluate every rule, if it is time. Raises Stopped."""
        if _now() < self.next_at:
            return
        self.next_at = _now() + self._runtime.config.alerts.interval_seconds
        await self.evaluate(RULES if self._runtime.config.alerts.enabled else ())

    async def evaluate(self, rules: Sequence[AlertRule]) -> None:
        """Evaluate these rules, resolve what is open of others, and show what is critical in the registry. Raises
        Stopped."""
        ends = _now() + WORK_SECONDS
        for rule in (*rules[self._first :], *rules[: self._first]):
            with contextlib.suppress(TooSlow):
                await self._survive(rule.id, partial(self._evaluate, rule))
            if _now() >= ends:
                self._first = (rules.index(rule) + 1) % len(rules)
                break
        with contextlib.suppress(TooSlow):
            await self._survive("what is open", partial(self._keep, rules))
        self.evaluations += 1

    def forget(self) -> None:
        """Say nothing in the registry any more: another sweep evaluates."""
        self._runtime.troubles.say("alerts", "")
        for name in self._said:
            self._runtime.troubles.say(f"alerts {name}", "")

    async def close(self) -> None:
        """End the task that sends. What it was sending is sent again by another sweep, unless it was noted."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _evaluate(self, rule: AlertRule) -> None:
        config = self._runtime.config
        asked = {**parameters(config), **{name: of(config.alerts) for name, of in rule.more.items()}}
        rows = await self._rows(rule.statement, f"evaluating {rule.id}", **asked)
        found = rule.found(rows, config)
        done = await self._record(rule, found)
        for row in done:
            self._say(rule, row)
        if done:
            self._written.set()

    async def _keep(self, rules: Sequence[AlertRule]) -> None:
        await self._value("alerts/close_others", "closing alerts", rules=[rule.id for rule in rules])
        if _now() >= self._next_forget:
            self._next_forget = _now() + FORGET_SECONDS
            await self._value("alerts/forget", "deleting old alerts")
        await self._show()

    async def _record(self, rule: AlertRule, found: Sequence[FoundAlert]) -> list[dict[str, Any]]:
        return await self._rows(
            "alerts/record",
            f"recording {rule.id}",
            rule=rule.id,
            found=Jsonb([one.as_row() for one in found]),
            channels=list(self._channels),
            lasting_seconds=rule.lasting_seconds(self._runtime.config.alerts),
            remind_seconds=self._runtime.config.alerts.remind_seconds,
        )

    def _say(self, rule: AlertRule, row: Mapping[str, Any]) -> None:
        if row["event"] == "resolved":
            logger.info("sweep: over: {} {}", rule.id, row["subject"])
            return
        level = "ERROR" if row["severity"] == "critical" else "WARNING"
        logger.log(level, "sweep: {}; to do: {} (alert {})", row["summary"], row["action"], row["alert_id"])

    async def _show(self) -> None:
        async def ask() -> dict[str, Any]:
            async with self._runtime.pool.connection() as connection:
                return await fetch_one(connection, "alerts/open", most=SHOWN)

        row = await self._statements.ask("alerts/open", "reading open alerts", ask)
        more = row["alerts"] - len(row["summaries"])
        said = "; ".join([*row["summaries"], *([f"and {more} more alerts"] if more else [])])
        self._runtime.troubles.say("alerts", said)

    async def _keep_sending(self) -> None:
        """While this sweep leads. Ends when the process does."""
        with contextlib.suppress(Stopped):
            while True:
                await self._acting.wait()
                self._written.clear()
                tried = await self._runtime.persist("sending alerts", self._send)
                if tried < BATCH:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SEND_SECONDS):
                            await self._written.wait()

    async def _send(self) -> int:
        tried = 0

        async def send() -> None:
            nonlocal tried
            tried = await self._outbox.send_due()

        await self._survive("sending", send)
        return tried

    async def _survive(self, name: str, action: Callable[[], Awaitable[None]]) -> None:
        """``action``; an error that nobody expected is logged with its traceback and shown, and everything else goes
        on. Raises TooSlow, Stopped, and what ``persist`` tries again."""
        try:
            await action()
        except (TooSlow, Stopped, *DATABASE_GONE):
            raise
        except Exception as error:
            if self._said.setdefault(name, LogThrottle(SAY_AGAIN_SECONDS)).due():
                logger.exception("sweep: alerts: {}", name)
            self._runtime.troubles.say(f"alerts {name}", f"alerts, {name}: {type(error).__name__}: {reason(error)}")
        else:
            self._said.pop(name, None)
            self._runtime.troubles.say(f"alerts {name}", "")

    async def _rows(self, name: str, what: str, **asked: Any) -> list[dict[str, Any]]:
        async def ask() -> list[dict[str, Any]]:
            async with self._runtime.pool.connection() as connection:
                return await fetch(connection, name, **asked)

        return await self._statements.ask(name, what, ask)

    async def _value(self, name: str, what: str, **asked: Any) -> Any:
        async def ask() -> Any:
            async with self._runtime.pool.connection() as connection:
                return await fetch_value(connection, name, **asked)

        return await self._statements.ask(name, what, ask)


def _now() -> float:
    return asyncio.get_running_loop().time()
