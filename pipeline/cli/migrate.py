"""``flagpost migrate``: brings the database to this version."""

import asyncio

import psycopg
import typer

from pipeline.admin.session import read_only, ready_dsn, speaks_to_a_pooler, unreachable
from pipeline.cli.acting import JsonOption
from pipeline.cli.output import CommandError, print_json
from pipeline.db.dsn import behind_pooler, without_password
from pipeline.db.errors import WrongSession
from pipeline.db.migrate import Connect, Migrated
from pipeline.db.migrate import migrate as migrate_database
from pipeline.settings import Settings


def migrate(as_json: JsonOption = False) -> None:
    """Bring the database to this version of the schema.

    New tables and columns are applied once, functions, views, triggers and roles every time; sequences that are behind
    their rows (a restore without them) are moved past them. All of it is one transaction, and safe to repeat or to call
    from several machines at once.
    """
    settings = Settings.load()
    dsn = ready_dsn(settings)
    try:
        done = asyncio.run(_migrate(dsn, pooler=behind_pooler(settings)))
    except WrongSession as error:
        raise CommandError(str(error)) from None
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise read_only(error) from None
    except psycopg.OperationalError as error:
        raise unreachable(settings, dsn, error) from None
    if as_json:
        print_json({"version": done.version, "applied": list(done.applied), "advanced_sequences": list(done.advanced)})
        return
    for name in done.applied:
        typer.echo(f"applied {name}")
    if done.connect is not None:
        for line in _told(done.connect):
            typer.echo(line)
    for name in done.advanced:
        typer.echo(f"moved sequence {name} past the rows that it numbers")
    typer.echo(
        f"schema version {done.version}, {done.replaced} files of functions, views, triggers and roles in place "
        f"({without_password(dsn)})"
    )


async def _migrate(dsn: str, *, pooler: bool) -> Migrated:
    try:
        return await migrate_database(dsn, pooler=pooler)
    except psycopg.OperationalError as error:
        if pooler or not speaks_to_a_pooler(error):
            raise
    return await migrate_database(dsn, pooler=True)


def _told(connect: Connect) -> list[str]:
    """What was done to who may connect, and how to give it back."""
    name = connect.database
    if connect.restricted is None:
        return [
            f"everybody who has a login on this server may connect to {name}: its owner should run "
            f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC'
        ]
    if not connect.restricted:
        return []
    kept_by = f"; kept by {', '.join(connect.kept_by)}, who work there already" if connect.kept_by else ""
    return [
        f"CONNECT and TEMPORARY on {name} were taken from PUBLIC{kept_by}",
        f'to let another login in: GRANT CONNECT ON DATABASE "{name}" TO …',
    ]
