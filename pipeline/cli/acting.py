"""How commands run an operator's action: a session of the database, named for the command, and an event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from psycopg import AsyncConnection

from pipeline.admin.session import async_database
from pipeline.settings import Settings

T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def run_action(settings: Settings, name: str, action: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    """What ``action`` gives on a session named for the command. Raises ActionError."""

    async def run() -> T:
        async with async_database(settings, name) as connection:
            return await action(connection)

    return asyncio.run(run())
