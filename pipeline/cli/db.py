"""`flagpost db`: the project's database, embedded or your own."""

import os
import shutil
from pathlib import Path

import typer

from pipeline.cli.output import CommandError
from pipeline.cli.session import not_running
from pipeline.db.binaries import bundled_binaries
from pipeline.db.cluster import is_up
from pipeline.db.dsn import as_url, database_dsn
from pipeline.settings import Settings

_ASKS_NO_SERVER = {"--help", "-?", "--version", "-V"}

app = typer.Typer(no_args_is_help=True, help="The database: psql, url, start.")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    options_metavar="[psql options]",
)
def psql(context: typer.Context) -> None:
    """Open psql on the project's database; everything after `psql` goes to it.

    For instance: flagpost db psql -c "SELECT * FROM user_wallets WHERE needs_gas"; flagpost db psql -f
    sql/inspect/stuck.sql
    """
    executable = _psql()
    settings = Settings.load()
    dsn = as_url(database_dsn(settings))
    if settings.database_url is None and not _ASKS_NO_SERVER.intersection(context.args) and not is_up(settings.home):
        raise not_running(settings)
    os.execv(executable, [executable, dsn, *context.args])  # noqa: S606 - psql itself, no shell


@app.command()
def url() -> None:
    """Print the database's DSN, for psql, pgAdmin and the like."""
    typer.echo(as_url(database_dsn(Settings.load())))


@app.command()
def start() -> None:
    """Run the embedded server in the foreground, as a line of a Procfile does.

    Ctrl-C or SIGTERM stops it once our own processes have disconnected, or after a few seconds; a second one at once.
    """
    import asyncio

    from pipeline.db.foreground import serve

    settings = Settings.load()
    if settings.database_url is not None:
        raise CommandError(
            "DATABASE_URL is set, so the embedded server would serve nobody",
            "unset DATABASE_URL, or leave this line out of the Procfile",
        )
    asyncio.run(serve(settings.home))


def _psql() -> str:
    """The bundled psql, which is never older than the bundled server; else one of the system."""
    bundled = bundled_binaries() / "psql"
    found = str(bundled) if os.access(bundled, os.X_OK) else shutil.which("psql")
    if found is None:
        raise CommandError("there is no psql here", f"make {Path(bundled)} executable, or install postgresql-client")
    return found
