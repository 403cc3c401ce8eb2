"""What the database refuses, as errors of an action in words for people: never a constraint's name or an SQL error as
they come."""

import re
from typing import Any

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import DictRow

from pipeline.admin.errors import ActionError, Conflict, InvalidValue, NeedsAnotherWord, NotFound
from pipeline.config.terms import SENTENCES
from pipeline.db.rows import fetch

_KEY = re.compile(
    r"Key \((?P<columns>.*?)\)=\((?P<values>.*)\) (?P<what>already exists|is not present|is still referenced)"
)
_RAISED = "exec_stmt_raise"
"""The source of a message that one of our functions or triggers raised: it is written for people."""
NOTHING_CHANGED = "nothing was changed"


async def act(connection: AsyncConnection[Any], name: str, /, **parameters: Any) -> list[DictRow]:
    """The rows of statement ``name``, which calls a function of an operator's action; all or nothing, also within a
    transaction of the caller's. Raises ActionError for what the database refuses, psycopg.Error otherwise."""
    try:
        async with connection.transaction():
            return await fetch(connection, name, **parameters)
    except psycopg.Error as error:
        raise in_words(error) or error from None


def in_words(error: psycopg.Error) -> ActionError | None:
    """What to say of a statement that the database refused; None for an error of another kind."""
    diag = error.diag
    code = error.sqlstate or ""
    if code.startswith("FP") or diag.source_function == _RAISED:
        kind = {"P0002": NotFound, "22023": InvalidValue, "FP019": NeedsAnotherWord}.get(code, Conflict)
        return kind(diag.message_primary or str(error), diag.message_hint or NOTHING_CHANGED)
    match error:
        case errors.CheckViolation():
            return InvalidValue(_rule(diag.constraint_name, diag.table_name or diag.datatype_name), NOTHING_CHANGED)
        case errors.NotNullViolation():
            return InvalidValue(f"{diag.table_name}.{diag.column_name} needs a value", NOTHING_CHANGED)
        case errors.UniqueViolation() | errors.ForeignKeyViolation():
            return Conflict(_key(diag), NOTHING_CHANGED)
        case errors.DataError():
            return InvalidValue(f"a value is out of its range: {diag.message_primary}", NOTHING_CHANGED)
    return None


def _rule(constraint: str | None, of: str | None) -> str:
    rule = SENTENCES.get(constraint or "")
    return rule or f"a value of {of} is out of its bounds ({(constraint or 'unnamed').replace('_', ' ')})"


def _key(diag: psycopg.errors.Diagnostic) -> str:
    found = _KEY.match(diag.message_detail or "")
    if found is None:
        return f"{diag.table_name} has such a row already, or lacks one that is named"
    which = f"{found['columns']} = {found['values']}"
    match found["what"]:
        case "already exists":
            return f"{diag.table_name} has a row with {which} already"
        case "is not present":
            return f"there is no row with {which} that {diag.table_name} could name"
    return f"the row with {which} is still in use"
