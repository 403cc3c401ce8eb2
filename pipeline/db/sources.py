"""Where the SQL files are: in the installed package, or beside it in a checkout."""

from functools import cache
from pathlib import Path

import pipeline

_PACKAGE = Path(pipeline.__file__).parent


@cache
def _root() -> Path:
    packaged = _PACKAGE / "_data"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def sql_directory() -> Path:
    """The directory ``sql`` with migrations, functions, views, roles and queries."""
    return _root() / "sql"


def triggers_directory() -> Path:
    """The directory ``triggers``."""
    return _root() / "triggers"
