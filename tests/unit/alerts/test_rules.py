"""Every alert says what is wrong and what to do, and stands in the manual."""

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.alerts.rules import LONGEST_SUBJECT, MOST_SUBJECTS, RULES, AlertRule
from pipeline.config import RuntimeConfig
from pipeline.db.sources import sql_directory

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
ROW = re.compile(r"^\| `(?P<rule>[a-z_.]+)` \| (?P<means>.+?) \| (?P<todo>.+?) \|$", re.MULTILINE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_has_words_an_action_and_a_statement(rule: AlertRule) -> None:
    assert rule.says
    assert rule.action
    assert (sql_directory() / "queries" / f"{rule.statement}.sql").is_file()


def test_ids_are_unique() -> None:
    assert {name: count for name, count in Counter(rule.id for rule in RULES).items() if count > 1} == {}


def test_the_table_of_the_manual_has_every_rule_once() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Alerts\n")[1].split("\n## ")[0]
    assert Counter(row["rule"] for row in ROW.finditer(section)) == Counter(rule.id for rule in RULES)


def test_what_others_wrote_moves_no_cursor_and_is_bounded() -> None:
    rule = AlertRule("a.rule", "alerts/open", subject="{name}", says="{name} is\x1b[2J wrong", action="do {name}")
    rows = [{"name": f"{number}\n" + 500 * "x"} for number in range(MOST_SUBJECTS + 1)]
    found = rule.found(rows, RuntimeConfig())
    assert len(found) == MOST_SUBJECTS
    assert all(text.isprintable() for one in found for text in (one.subject, one.summary, one.action))
    assert max(len(one.subject) for one in found) == LONGEST_SUBJECT


def test_of_one_subject_the_first_row_counts() -> None:
    rule = AlertRule("a.rule", "alerts/open", subject="{chain}", says="{what}", action="do it")
    found = rule.found([{"chain": "tron", "what": "one"}, {"chain": "tron", "what": "two"}], RuntimeConfig())
    assert [one.summary for one in found] == ["one"]


def test_levels() -> None:
    rule = AlertRule("a.rule", "alerts/open", subject="{level}", says="{level}", action="do it")
    rows = [{"level": level} for level in ("note", "warn", "fail")]
    assert [str(one.severity) for one in rule.found(rows, RuntimeConfig())] == ["warning", "critical"]
