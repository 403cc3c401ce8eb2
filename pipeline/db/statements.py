"""Named statements: one file each under sql/queries.

A file is written for people, with comments, and can be pasted into psql once its parameters are filled in. The
server gets it without comments (a per cent sign in a comment would be taken for a parameter, and psycopg caches only
short statements) and with its name in front, so that pg_stat_activity and slow-query logs say where it comes from.
"""

import re
from functools import cache

from pipeline.db.errors import UnknownStatement
from pipeline.db.sources import sql_directory

_STRING_OR_COMMENT = re.compile(
    r"""
    (?P<kept> '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | --[^\n]* | /\*.*?\*/
    """,
    re.VERBOSE | re.DOTALL,
)


@cache
def statement(name: str) -> str:
    """The text of sql/queries/``name``.sql, read once per process. Raises UnknownStatement."""
    path = sql_directory() / "queries" / f"{name}.sql"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UnknownStatement(f"There is no statement {name!r}: expected the file {path}") from None
    lines = without_comments(text).splitlines()
    body = "\n".join(line.rstrip() for line in lines if line.strip())
    return f"/* {name} */ {body.rstrip().removesuffix(';')}"


def without_comments(text: str) -> str:
    """``text`` without SQL comments; strings, quoted names and dollar-quoted bodies stay as they are."""
    return _STRING_OR_COMMENT.sub(lambda match: match["kept"] or " ", text)
