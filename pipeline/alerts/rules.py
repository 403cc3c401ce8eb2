"""The rules: a statement each, one row for each subject that something is wrong with, in words with what to do next.

Where doctor asks the same question, the statement and the id are doctor's. To add one: a statement under
``sql/queries/alerts`` (its cost bounded by an index or a LIMIT), an entry of ``RULES``, a row of "Alerts" in
``docs/operating.md``, and a test in ``tests/db/test_alert_rules.py`` that makes the fault. Columns named ``level``
(``fail`` is critical, ``warn`` a warning, ``note`` nothing) are understood, the others are for the texts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pipeline.alerts.words import worded
from pipeline.config import RuntimeConfig
from pipeline.config.runtime import AlertsConfig
from pipeline.db.notification_queue import described
from pipeline.printable import printable

LONGEST_TEXT = 1_000
"""Characters of a summary or an action."""
LONGEST_SUBJECT = 200
MOST_SUBJECTS = 50
"""Of one rule: what stands still as a whole is said by few of them."""

Row = Mapping[str, Any]


class Severity(StrEnum):
    """How urgent it is."""

    WARNING = "warning"
    """It works, but not as it should, or not for long."""
    CRITICAL = "critical"
    """Automation stands still somewhere, or is about to."""


_LEVELS: Mapping[str, Severity | None] = {"fail": Severity.CRITICAL, "warn": Severity.WARNING, "note": None}


@dataclass(frozen=True, slots=True)
class FoundAlert:
    """What a rule found of one subject."""

    subject: str
    severity: Severity
    summary: str
    action: str
    value: str | None
    """A decimal number."""

    def as_row(self) -> dict[str, Any]:
        """For ``record_alerts``."""
        return asdict(self)


def _no_lasting(_: AlertsConfig) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One question. ``subject``, ``says`` and ``action`` are formatted with the columns of a row."""

    id: str
    statement: str
    """``sql/queries/<statement>.sql``."""
    subject: str
    says: str
    action: str
    severity: Severity = Severity.CRITICAL
    """Of rows without a ``level``."""
    fails_only: bool = False
    """Rows of level ``warn`` are no alert: what is only behind catches up."""
    where: Callable[[Row], bool] | None = None
    """Which of the statement's rows are meant; None: all."""
    value: str | None = None
    """The column that ``alerts.value`` shows."""
    lasting_seconds: Callable[[AlertsConfig], float] = _no_lasting
    """How long it has to be found before anybody is told."""
    more: Mapping[str, Callable[[AlertsConfig], Any]] = field(default_factory=dict)
    """Parameters of the statement beside ``words.parameters``."""
    read: Callable[[Sequence[Row], RuntimeConfig], Iterable[Row]] | None = None
    """Rows that the texts need, out of the statement's; None: these themselves."""

    def found(self, rows: Sequence[Row], config: RuntimeConfig) -> list[FoundAlert]:
        """What the statement's ``rows`` say is wrong."""
        meant = rows if self.read is None else self.read(rows, config)
        found: dict[str, FoundAlert] = {}
        for row in meant:
            if self.where is not None and not self.where(row):
                continue
            severity = _LEVELS[row["level"]] if "level" in row else self.severity
            if severity is None or (self.fails_only and severity is not Severity.CRITICAL):
                continue
            subject = printable(worded(self.subject, row), LONGEST_SUBJECT)
            found.setdefault(
                subject,
                FoundAlert(
                    subject,
                    severity,
                    printable(worded(self.says, row), LONGEST_TEXT),
                    printable(worded(self.action, row), LONGEST_TEXT),
                    _number(row[self.value]) if self.value is not None else None,
                ),
            )
        return list(found.values())[:MOST_SUBJECTS]


def _number(value: Any) -> str | None:
    return None if value is None else f"{Decimal(value):f}"


def _notification_queue(rows: Sequence[Row], config: RuntimeConfig) -> Iterable[Row]:
    """One row, or none: the share in percent, and who may hold it."""
    share, suppressed = rows[0]["share"], rows[0]["suppressed"]
    if 100 * share < config.alerts.notification_queue_percent:
        return
    suspects = [
        (row["pid"], row["usename"], row["datname"], row["application_name"], row["since"])
        for row in rows
        if row["pid"] is not None
    ]
    yield {
        "percent": round(100 * share, 1),
        "what": "NOTIFY is suppressed, tables are polled" if suppressed else "from a half on NOTIFY is suppressed",
        "suspects": described(suspects),
        "level": "fail" if suppressed else "warn",
    }


def _troubles(rows: Sequence[Row], _: RuntimeConfig) -> Iterable[Row]:
    """By the slots that say it. A sweep's are left out: what it says are these alerts. Those of confirmations are
    critical: what they cannot judge is money."""
    for row in rows:
        slots = [slot for slot in row["ids"] if "-sweep-" not in slot]
        if slots:
            confirms = any("-confirmations-" in slot for slot in slots)
            yield {**row, "slots": slots[:3], "typed": " ".join(slots[:3]), "level": "fail" if confirms else "warn"}


JOBS_DUE = AlertRule(
    "queue.due",
    "doctor/queue_due",
    subject="{chain} {job_type}",
    says="{chain}: {jobs} {job_type} jobs have been due for {since}, {why}: {examples}",
    action="{start}; its log and worker_registry.last_error say what it waits for",
    fails_only=True,
    value="jobs",
)
FLAGS_WITHOUT_JOB = AlertRule(
    "queue.flags",
    "doctor/queue_flags",
    subject="{chain} {job_type}",
    says="{chain}: {wallets} wallets have wanted {job_type} for {since} and have no job: {examples}",
    action="start {job_type} and sweep; then see: flagpost doctor",
    value="wallets",
)
BALANCES_UNREAD = AlertRule(
    "wallets.unread",
    "doctor/wallets_unread",
    subject="{chain} {symbol}",
    says="{chain}: {balances} {symbol} balances have been due for {since}; {why}",
    action="{start}; see that a node of {chain} answers: flagpost doctor",
    value="balances",
)
PAYMENTS_OUT = AlertRule(
    "money.out",
    "doctor/money_out",
    subject="{chain}: {why}",
    says="{chain}: {payments} payments {why}, for {since}: {examples}",
    action="start confirmations; see: flagpost db psql -f sql/inspect/money_in_flight.sql, and the node's answers in "
    "last_result",
    value="payments",
)

RULES = (
    AlertRule(
        "jobs.failed",
        "alerts/jobs_failed",
        subject="{chain} {job_type}",
        says="{chain}: {jobs} {job_type} jobs failed within the hour; the newest says: {newest_error}",
        action="see: flagpost jobs list --status failed --type {job_type}; once the cause is mended: "
        "flagpost jobs retry-failed --type {job_type}",
        value="jobs",
    ),
    AlertRule(
        "jobs.retried",
        "alerts/jobs_retried",
        subject="{chain} {job_type}",
        says="{chain}: {percent} % of {jobs} {job_type} jobs that began within 15 minutes had failed before; "
        "the newest says: {newest_error}",
        action="see: flagpost jobs list --status retrying --type {job_type}; do what the errors name before the "
        "attempts are used up",
        severity=Severity.WARNING,
        value="percent",
    ),
    JOBS_DUE,
    FLAGS_WITHOUT_JOB,
    AlertRule(
        "queue.leases",
        "doctor/queue_leases",
        subject="{why}",
        says="{jobs} attempts {why} ({earliest} to {latest}): {examples}",
        action="see that one of gas-topup, consolidation, confirmations runs, and sweep: flagpost doctor",
        value="jobs",
    ),
    AlertRule(
        "workers.stuck",
        "alerts/workers_stuck",
        subject="{slot}",
        says="{slot} ({name}) is to run and does not: {why}, last seen {since} ago",
        action="on host {host}: {command}; or, where an agent starts it: flagpost workers restart {slot}; its log says "
        "why it ended",
        lasting_seconds=lambda alerts: alerts.worker_seconds,
    ),
    AlertRule(
        "workers.missing",
        "alerts/workers_missing",
        subject="{type}",
        says="no {type} is alive; {why}; {seen}",
        action="{start}; see: flagpost doctor",
        lasting_seconds=lambda alerts: alerts.worker_seconds,
    ),
    AlertRule(
        "processes.troubles",
        "doctor/processes_troubles",
        subject="{slots}",
        says="{slots}{more}: {last_error}",
        action="do what it says; it is cleared by itself, an unexpected error by: flagpost workers restart {typed}",
        lasting_seconds=lambda alerts: alerts.worker_seconds,
        read=_troubles,
    ),
    AlertRule(
        "leaders",
        "doctor/without_leader",
        subject="{name}",
        says="nobody has led {name} since {since}: its work is not done",
        action="{start}; see: SELECT * FROM leaderships",
    ),
    AlertRule(
        "gas.low",
        "alerts/gas_wallets",
        subject="{chain}",
        says="{chain}: gas wallet {gas_wallet} is low: {what}",
        action="send {coin} to {gas_wallet}; flagpost doctor prints what it holds and what the wallets want; jobs that "
        "wait go on by themselves",
        value="jobs",
    ),
    AlertRule(
        "money.budgets",
        "doctor/money_budgets",
        subject="{chain} {budget}",
        says="{chain}: {budget} {what} ({spent} of {most} {coin} are spent); {wallets} wallets want gas",
        action="wait (a day is the last 24 hours), or: flagpost config set {chain}.{budget} '… {coin}'",
        value="percent",
    ),
    PAYMENTS_OUT,
    AlertRule(
        "money.cursors",
        "doctor/chains_cursors",
        subject="{chain}",
        says="{chain}: payments are out, and final blocks are read up to {block_number}, no further for {standing}",
        action="start confirmations: flagpost confirmations; see that a node has final blocks: flagpost doctor",
        where=lambda row: not row["beyond"],
    ),
    AlertRule(
        "money.cursors_ahead",
        "doctor/chains_cursors",
        subject="{chain}",
        says="{chain}: final blocks are recorded as read up to {block_number} of {block_time}, which is in the future: "
        "nothing is settled, and payments would be called expired too early",
        action="flagpost config set paused true; find out who wrote chain_cursors, and delete the row",
        where=lambda row: bool(row["beyond"]),
    ),
    AlertRule(
        "senders.frozen",
        "doctor/senders",
        subject="{chain} {sender}",
        says="{chain}: {sender} has been frozen since {frozen_since} and pays nothing: {frozen}",
        action="find out who has its key; if it is explained: flagpost senders release {chain} {sender}",
        where=lambda row: row["frozen"] is not None,
    ),
    AlertRule(
        "senders.stuck",
        "doctor/senders",
        subject="{chain} {sender}",
        says="{chain}: {sender} has been stuck since {stuck_since}: {stuck}",
        action="do what it says; what nobody can explain: flagpost senders release {chain} {sender}",
        where=lambda row: row["stuck"] is not None,
    ),
    AlertRule(
        "senders.unknown",
        "doctor/senders",
        subject="{chain} {sender}",
        says="{chain}: {sender} has made transactions that are missing from the database, being reconciled since "
        "{looked_into_since}: it pays nothing meanwhile",
        action="see that confirmations runs and has a node with all blocks; what nobody can explain: "
        "flagpost senders release {chain} {sender}",
        where=lambda row: row["stuck"] is None and row["looked_into_since"] is not None,
    ),
    AlertRule(
        "nodes.failing",
        "alerts/nodes_failing",
        subject="{chain} {node}",
        says="{chain}: node {node} fails, by {workers} processes: {said}",
        action="see: flagpost doctor; name another node first: FLAGPOST_NODES_<CHAIN>, or chains.nodes",
        severity=Severity.WARNING,
        lasting_seconds=lambda alerts: alerts.node_seconds,
        value="workers",
    ),
    BALANCES_UNREAD,
    AlertRule(
        "wallets.failing",
        "alerts/balances_failing",
        subject="{chain} {symbol}",
        says="{chain}: {balances} {symbol} balances could not be read, again and again, as that of {example}: {said}",
        action="correct address or contract, or: flagpost assets disable {chain} {symbol}",
        severity=Severity.WARNING,
        value="balances",
    ),
    AlertRule(
        "wallets.locks",
        "doctor/wallets_locked",
        subject="",
        says="{balances} balances are locked until {latest} by {locked_by}, and not read before",
        action="start a sync, which unlocks them: flagpost sync; a clock was wrong, or somebody wrote the time",
        value="balances",
    ),
    AlertRule(
        "locks.stale",
        "alerts/locks_stale",
        subject="{chain} {symbol}",
        says="{chain}: {locks} locks of {symbol} balances ended {since} ago and are still there, of {locked_by}",
        action="start a sync, which takes them over: flagpost sync; the one that had them is gone",
        severity=Severity.WARNING,
        value="locks",
    ),
    AlertRule(
        "locks.blocked",
        "doctor/blocked",
        subject="session {blocker}",
        says="session {pid} ({application}) has waited {waited} for a lock of session {blocker} (user {blocker_user}, "
        "application {blocker_application})",
        action="if that session hangs, end it: SELECT pg_terminate_backend({blocker})",
        more={"longer_than_seconds": lambda alerts: alerts.blocked_seconds},
    ),
    AlertRule(
        "database.notifications",
        "doctor/notification_queue",
        subject="",
        says="the notification queue of the server is {percent} % full: {what}",
        action="{suspects}",
        value="percent",
        read=_notification_queue,
    ),
    AlertRule(
        "database.transactions",
        "alerts/transactions_open",
        subject="session {pid}",
        says="a transaction of {login} ({application}, session {pid}) has been open {held}, {state}: vacuum takes no "
        "dead row away meanwhile, and the queue becomes slower",
        action="if it is not needed, end it: SELECT pg_terminate_backend({pid})",
        severity=Severity.WARNING,
    ),
)
"""In the order in which they are asked."""
