"""What the database refuses, in words for people: never a constraint's name or an SQL error as they come."""

import re

import psycopg
from psycopg import errors

from pipeline.cli.output import CommandError
from pipeline.config.terms import SENTENCES

_KEY = re.compile(
    r"Key \((?P<columns>.*?)\)=\((?P<values>.*)\) (?P<what>already exists|is not present|is still referenced)"
)
NOTHING_CHANGED = "nothing was changed"


def in_words(error: psycopg.Error) -> CommandError | None:
    """What a command says of a statement that the database refused; None for an error of another kind."""
    diag = error.diag
    if (error.sqlstate or "").startswith("FP"):
        # Of our own triggers and functions, whose messages are written for people.
        return CommandError(diag.message_primary or str(error), diag.message_hint or NOTHING_CHANGED)
    match error:
        case errors.CheckViolation():
            return CommandError(_rule(diag.constraint_name, diag.table_name or diag.datatype_name), NOTHING_CHANGED)
        case errors.NotNullViolation():
            return CommandError(f"{diag.table_name}.{diag.column_name} needs a value", NOTHING_CHANGED)
        case errors.UniqueViolation() | errors.ForeignKeyViolation():
            return CommandError(_key(diag), NOTHING_CHANGED)
        case errors.DataError():
            return CommandError(f"a value is out of its range: {diag.message_primary}", NOTHING_CHANGED)
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
