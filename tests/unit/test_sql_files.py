"""SQL files are read by people: each says first what it is for, and none is wider than a screen."""

from pathlib import Path

import pytest

from pipeline.db.sources import sql_directory, triggers_directory

FILES = [
    *sorted((sql_directory()).rglob("*.sql")),
    *sorted(triggers_directory().glob("*.sql")),
]
WIDEST = 145


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_sql_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0].startswith("-- ")
    assert lines[0][3:4].isupper()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\t" not in text
    assert [number for number, line in enumerate(lines, 1) if len(line) > WIDEST or line != line.rstrip()] == []


def test_there_are_files() -> None:
    assert len(FILES) > 100
