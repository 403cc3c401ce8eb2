"""`flagpost migrate`."""

import asyncio

import psycopg
import typer

from pipeline.cli.session import unreachable
from pipeline.db.dsn import database_dsn, without_password
from pipeline.db.migrate import migrate as migrate_database
from pipeline.settings import Settings


def migrate() -> None:
    """Bring the database to this version of the schema.

    New tables and columns are applied once, functions, views, triggers and roles every time; sequences that are behind
    their rows (a restore without them) are moved past them. All of it is one transaction, and safe to repeat or to call
    from several machines at once.
    """
    settings = Settings.load()
    dsn = database_dsn(settings)
    try:
        done = asyncio.run(migrate_database(dsn))
    except psycopg.OperationalError as error:
        raise unreachable(settings, dsn, error) from None
    for name in done.applied:
        typer.echo(f"applied {name}")
    for name in done.advanced:
        typer.echo(f"moved sequence {name} past the rows that it numbers")
    typer.echo(
        f"schema version {done.version}, {done.replaced} files of functions, views, triggers and roles in place "
        f"({without_password(dsn)})"
    )
