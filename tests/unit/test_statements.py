"""Statements: found by name, without comments, from a checkout and from an installed package."""

from pathlib import Path

import pytest

from pipeline.db import sources
from pipeline.db.errors import UnknownStatement
from pipeline.db.statements import statement, without_comments

QUERIES = sources.sql_directory() / "queries"
NAMES = sorted(str(path.relative_to(QUERIES).with_suffix("")) for path in QUERIES.rglob("*.sql"))


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_opens_with_its_guarantee_and_is_sent_without_comments(name: str) -> None:
    assert (QUERIES / f"{name}.sql").read_text(encoding="utf-8").startswith("-- ")
    text = statement(name)
    assert text.startswith(f"/* {name} */ ")
    assert not text.endswith(";")


def test_an_unknown_name_says_which_file_is_missing() -> None:
    with pytest.raises(UnknownStatement, match=r"queries/queue/no-such\.sql"):
        statement("queue/no-such")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("SELECT 1 -- 20 % of it\n, 2", "SELECT 1  \n, 2"),
        ("/* a\n % b */ SELECT 1", "  SELECT 1"),
        ("SELECT '-- kept', 'it''s /* kept */'", "SELECT '-- kept', 'it''s /* kept */'"),
        ('SELECT "-- kept"', 'SELECT "-- kept"'),
        ("DO $f$ -- kept\n $f$ -- gone", "DO $f$ -- kept\n $f$  "),
        ("SELECT %(a)s - -1", "SELECT %(a)s - -1"),
    ],
)
def test_comments_go_and_strings_stay(text: str, left: str) -> None:
    assert without_comments(text) == left


def test_an_installed_package_brings_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_data" / "sql").mkdir(parents=True)
    monkeypatch.setattr(sources, "_PACKAGE", tmp_path)
    sources._root.cache_clear()
    try:
        assert sources.sql_directory() == tmp_path / "_data" / "sql"
        assert sources.triggers_directory() == tmp_path / "_data" / "triggers"
    finally:
        sources._root.cache_clear()
