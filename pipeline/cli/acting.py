"""How commands run an operator's action: a session of the database, named for the command, and an event loop."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from psycopg import AsyncConnection
from rich.markup import escape

from pipeline.admin.errors import NeedsAnotherWord
from pipeline.admin.session import async_database
from pipeline.cli.output import WARN, CommandError, err
from pipeline.settings import Settings

T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
AnywayOption = Annotated[
    bool, typer.Option("--anyway", help="Also the last worker that follows payments which are out.")
]


def run_action(settings: Settings, name: str, action: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    """What ``action`` gives on a session named for the command. Raises ActionError."""

    async def run() -> T:
        async with async_database(settings, name) as connection:
            return await action(connection)

    return asyncio.run(run())


def asked_twice(run: Callable[[bool], T], what: str, *, anyway: bool, as_json: bool) -> T:
    """What ``run`` gives; where that needs another word, once a person has said it."""
    try:
        return run(anyway)
    except NeedsAnotherWord as refused:
        if as_json or not sys.stdin.isatty():
            hint = refused.hint.rstrip(".")
            raise CommandError(refused.message, f"{hint}; to do it all the same: --anyway") from None
        err.print(f"{WARN} {escape(refused.message)}. {escape(refused.hint)}")
        if not typer.confirm(f"{what} all the same?", err=True):
            raise typer.Exit(1) from None
        return run(True)
