"""Doctor's checks one by one, without a command and without a node."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from pipeline.admin.checks.check import Check, Examination, Examiner, Topic
from pipeline.admin.checks.examine import TOPICS
from pipeline.admin.checks.findings import Finding, Findings, Level
from pipeline.config import RuntimeConfig
from pipeline.settings import Settings

ASKED: Mapping[str, Check] = {check.id: check for topic in TOPICS for check in topic.checks}
"""What the database alone answers, by id."""


@contextlib.contextmanager
def examination(dsn: str, **settings: Any) -> Iterator[Examination]:
    """What checks get. ``settings`` beside the database; ``full`` and ``paused`` are understood, too."""
    full, paused = settings.pop("full", False), settings.pop("paused", False)
    with psycopg.connect(dsn, row_factory=dict_row, autocommit=True) as connection:
        yield Examination(connection, Settings(database_url=dsn, **settings), RuntimeConfig(paused=paused), full)


def found(dsn: str, *ids: str, **settings: Any) -> Sequence[Finding]:
    """What these checks find (all of them, if none is named), without what is well."""
    findings = Findings()
    with examination(dsn, **settings) as shared:
        Examiner(shared, findings).ask(Topic("test", [ASKED[one] for one in ids or ASKED]))
    return [finding for finding in findings.all if finding.level is not Level.OK]


def the_one(dsn: str, check: str, **settings: Any) -> Finding:
    """The only finding of a check."""
    (finding,) = found(dsn, check, **settings)
    return finding
