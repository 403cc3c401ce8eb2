"""What doctor asks: small named checks, and how one more is added.

A check asks one question of which the answer is worth acting on. It has an id, a sentence that is true when all is
well, and a cure. ``FAIL`` is for states in which automation stands still or money can leave (exit code 1), ``WARN`` for
what works, but not as it should, ``NOTE`` for what is worth knowing.

To add one:

1.  ``sql/queries/doctor/<question>.sql``: one row for each thing that is wrong, none when all is well. Its cost is
    bounded by an index or a LIMIT, not by the history. It may use every parameter of ``Examination.parameters``.
    Columns named ``level`` (``fail``, ``warn``, ``note``) and ``ids`` (an array: which rows are concerned) are
    understood, the others are for the text.
2.  ``pipeline/admin/checks/<topic>.py``: an entry of its ``CHECKS``:

        Check(
            "money.void_nonces",
            right="no nonce waits to be filled",
            statement="void_nonces",
            says="{chain}: {nonces} nonces of {sender} have been waiting to be filled for {since}",
            cure="see that gas-topup and consolidation run: flagpost jobs list",
        )

    ``says`` and ``cure`` are formatted with the columns of a row: an interval as ``12 min``, an array separated by
    commas. What no single statement can answer is a function (``ask``) instead, which yields ``Trouble``.
3.  A new topic: one line in ``TOPICS`` of ``pipeline/admin/checks/examine.py``.
4.  ``docs/operating.md``, "What doctor checks": a row with the fault, the id and the cure. A test compares.
5.  ``tests/db/test_doctor_<topic>.py``: makes the fault and sees it found, by the id.

What a node is asked for is in ``nodes.py`` and ``chain.py``; its ids begin with the name of the chain.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from pipeline.admin.checks.findings import Finding, Findings, Level
from pipeline.admin.errors import ActionError
from pipeline.admin.session import Connection, Row
from pipeline.alerts.words import parameters, worded
from pipeline.config import RuntimeConfig
from pipeline.db.statements import statement
from pipeline.printable import printable
from pipeline.redaction import redact
from pipeline.settings import Settings

LIMIT_SECONDS = 5.0
"""One question may take so long. Each of them takes milliseconds in a database of ten million jobs."""
FULL_LIMIT_SECONDS = 600.0
"""The same with ``--full``."""
OPEN_SECONDS = 60.0
"""A transaction that has been open for so long slows down the queue."""
DEAD_ROWS = 200_000
"""In a table with fewer dead rows vacuum has no reason to hurry."""
NEWEST = 20_000
"""Wallets that are compared one by one without ``--full``: the newest."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong."""

    message: str
    level: Level | None = None
    """None: that of the check."""
    cure: str | None = None
    """None: that of the check."""
    ids: Sequence[str] = ()
    """Of the rows that are concerned, as many as the message names."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What the checks of one run share."""

    connection: Connection
    """In autocommit: each question is a transaction of its own."""
    settings: Settings
    config: RuntimeConfig
    full: bool = False
    """Wallets are compared one by one, however many there are."""
    kept: dict[str, list[Row]] = field(default_factory=dict)
    """Answers that several checks are about (``rows_once``)."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What every statement under sql/queries/doctor may use."""
        return {
            **parameters(self.config),
            "open_seconds": OPEN_SECONDS,
            "dead_rows": DEAD_ROWS,
            "newest": None if self.full else NEWEST,
        }

    def rows(self, name: str, **more: Any) -> list[Row]:
        """The rows of ``sql/queries/doctor/<name>.sql``, in a transaction of its own and within ``LIMIT_SECONDS``.
        ``more`` parameters than every statement may use. Raises psycopg errors."""
        return self._rows(f"doctor/{name}", {**self.parameters, **more})

    def active_chains(self) -> list[Row]:
        """The chains that are switched on (``catalog/chains``). Raises psycopg errors."""
        return [row for row in self._rows("catalog/chains", {}) if row["is_active"]]

    def _rows(self, name: str, parameters: Mapping[str, Any]) -> list[Row]:
        seconds = FULL_LIMIT_SECONDS if self.full else LIMIT_SECONDS
        begin = {"milliseconds": str(round(seconds * 1000)), "scans": "on" if self.full else "off"}
        with self.connection.transaction():
            self.connection.execute(statement("doctor/begin"), begin)
            cursor = self.connection.execute(statement(name), parameters)
            return list(cursor.fetchall())

    def rows_once(self, name: str) -> list[Row]:
        """``rows``, asked once in a run."""
        if name not in self.kept:
            self.kept[name] = self.rows(name)
        return self.kept[name]


Ask = Callable[[Examination], Iterable[Trouble]]


@dataclass(frozen=True, slots=True)
class Check:
    """One question. Either ``statement`` and ``says``, or ``ask``; neither: a function of its module asks it."""

    id: str
    right: str
    """What is true when nothing is found."""
    cure: str
    level: Level = Level.FAIL
    statement: str = ""
    """``sql/queries/doctor/<statement>.sql``."""
    says: str = ""
    ask: Ask | None = None

    def troubles(self, examination: Examination) -> Iterator[Trouble]:
        """What is wrong now. Raises psycopg errors."""
        if self.ask is not None:
            yield from self.ask(examination)
            return
        for row in examination.rows(self.statement):
            yield self.trouble(row)

    def trouble(self, row: Row) -> Trouble:
        """One row of the statement, in words."""
        return Trouble(
            message=worded(self.says, row),
            level=Level(row["level"]) if row.get("level") else None,
            cure=worded(self.cure, row),
            ids=[str(one) for one in row.get("ids") or ()],
        )


@dataclass(frozen=True, slots=True)
class Topic:
    """Checks that belong together: one line of the report when none of them finds anything."""

    name: str
    checks: Sequence[Check]


@contextlib.contextmanager
def answered(found: Findings, connection: Connection, check: Check, chain: str = "") -> Iterator[None]:
    """What keeps a question from being asked or answered is a finding of ``check``, and the next one is asked: also an
    error that nobody expected. ``chain``: the name of the one it is about. Raises psycopg.Error where the connection is
    lost."""
    name = check.id.replace("CHAIN", chain)
    unknown = f"not known whether {check.right}"
    try:
        yield
    except psycopg.Error as error:
        if connection.closed:
            raise
        found.warn(name, f"{unknown}: {_refusal(error)}", _cure(error))
    except ActionError as error:
        found.fail(name, error.message, error.hint)
    except Exception as error:  # one check that fails must not keep the others from being made
        said = printable(redact(" ".join(str(error).split())))
        found.fail(
            name,
            f"{f'{chain}: ' if chain else ''}{unknown}: {type(error).__name__}: {said}",
            "an error in doctor, or in what it asked: report it",
        )


def _cure(error: psycopg.Error) -> str:
    match error:
        case psycopg.errors.QueryCanceled():
            return "run doctor when the database has less to do"
        case psycopg.errors.InsufficientPrivilege():
            return "run doctor with the DATABASE_URL that migrates"
        case psycopg.OperationalError():
            return "run doctor again"
        case _:
            return "run: flagpost migrate"


def _refusal(error: psycopg.Error) -> str:
    lines = (error.diag.message_primary or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@dataclass(slots=True)
class Examiner:
    """Asks checks one after the other and writes down what they find."""

    examination: Examination
    found: Findings
    asked: list[str] = field(default_factory=list)
    """Ids of the checks that were asked."""

    def ask(self, topic: Topic) -> None:
        """Every check of ``topic``. A check that cannot be made is a finding, too."""
        well = [check for check in topic.checks if check.ask or check.statement if self._ask(check)]
        if well:
            checks = "1 check" if len(well) == 1 else f"{len(well)} checks"
            self.found.summary(f"{topic.name}: {checks} passed")

    def _ask(self, check: Check) -> bool:
        """Whether nothing is wrong."""
        self.asked.append(check.id)
        troubles: list[Trouble] | None = None
        with answered(self.found, self.examination.connection, check):
            troubles = list(check.troubles(self.examination))
        if troubles is None:
            return False
        for trouble in troubles:
            level = trouble.level or check.level
            todo = check.cure if trouble.cure is None else trouble.cure
            ids = tuple(map(str, trouble.ids))
            self.found.add(Finding(check.id, level, trouble.message, "" if level is Level.NOTE else todo, ids))
        if not troubles:
            self.found.ok(check.id, check.right, is_detail=True)
        return not troubles
