"""The list of doctor's checks, and the table that people read."""

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.admin.checks.check import Check
from pipeline.admin.checks.examine import TOPICS, known_checks
from pipeline.db.sources import sql_directory

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
ROW = re.compile(r"^\| (?P<fault>.+?) \| `(?P<check>[\w.]+)` \| (?P<cure>.+?) \|$", re.MULTILINE)


def documented() -> list[str]:
    """Ids in the order of the table."""
    section = PAGE.read_text(encoding="utf-8").split("## What doctor checks\n")[1].split("\n## ")[0]
    return [row["check"] for row in ROW.finditer(section)]


def test_the_table_of_the_manual_has_every_check_once():
    assert Counter(documented()) == Counter(check.id for check in known_checks())


@pytest.mark.parametrize("check", list(known_checks()), ids=lambda check: check.id)
def test_a_check_says_what_is_right_and_what_to_do(check: Check):
    assert check.right
    assert check.cure
    assert not check.statement or not check.ask
    assert bool(check.statement) == bool(check.says)
    if check.statement:
        assert (sql_directory() / "queries" / "doctor" / f"{check.statement}.sql").is_file()


def test_a_topic_has_only_what_the_database_is_asked():
    assert [check.id for topic in TOPICS for check in topic.checks if not (check.ask or check.statement)] == []
