"""The statements of the bench: files beside the code that runs them, as everywhere in the project."""

from functools import cache
from pathlib import Path

from pipeline.db.statements import without_comments

HERE = Path(__file__).parent


@cache
def text(name: str) -> str:
    """``bench/<name>.sql`` without comments."""
    return without_comments((HERE / f"{name}.sql").read_text(encoding="utf-8")).strip()


def parts(name: str) -> list[str]:
    """The statements of a file that holds several, which VACUUM cannot share a message with."""
    return [part.strip() for part in text(name).split(";") if part.strip()]
