"""`flagpost db`: the project's database, embedded or your own."""

import os
import shutil
from pathlib import Path

import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.admin.session import ready_dsn
from pipeline.cli.output import CommandError
from pipeline.db.dsn import as_url, behind_pooler, database_dsn, without_password
from pipeline.embedded.binaries import bundled_binaries
from pipeline.embedded.cluster import with_database
from pipeline.environment import environment_of_child
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
    asks = not _ASKS_NO_SERVER.intersection(context.args)
    dsn = ready_dsn(settings) if asks else database_dsn(with_database(settings))
    shown, secrets = _on_a_command_line(dsn, pooler=behind_pooler(settings))
    os.execve(executable, [executable, shown, *context.args], environment_of_child(**secrets))  # noqa: S606 - psql itself, no shell


@app.command()
def url() -> None:
    """Print the database's DSN, for psql, pgAdmin and the like.

    The embedded database is waited for if it is just being started, so that whatever comes next can use it.
    """
    typer.echo(as_url(ready_dsn(Settings.load())))


@app.command()
def start() -> None:
    """Run the embedded server in the foreground, as a line of a Procfile does.

    Ctrl-C or SIGTERM stops it once our own processes have disconnected, or after a few seconds; a second one at once.
    """
    import asyncio

    from pipeline.embedded.foreground import serve

    settings = Settings.load()
    if settings.database_url is not None:
        raise CommandError(
            "DATABASE_URL is set, so the embedded server would serve nobody",
            "unset DATABASE_URL, or leave this line out of the Procfile",
        )
    asyncio.run(serve(settings.home))


def _on_a_command_line(dsn: str, *, pooler: bool) -> tuple[str, dict[str, str]]:
    """``dsn`` as everybody on the machine may read it in the list of processes, and what psql finds in its environment.

    Its search_path is the one of our sessions: a schema named like the login would else be searched first. Raises
    CommandError for a secret that psql takes on its command line alone."""
    parts = conninfo_to_dict(dsn)
    if "sslpassword" in parts:
        raise CommandError(
            "the sslpassword in DATABASE_URL would be shown in the list of processes",
            "use a key without one, or name both in ~/.pg_service.conf and set DATABASE_URL to 'service=…'",
        )
    secrets = {"PGPASSWORD": str(parts["password"])} if parts.get("password") else {}
    shown = without_password(dsn)
    if not pooler:
        options = f"{parts.get('options') or ''} -c search_path=public,pg_temp".strip()
        shown = make_conninfo(shown, options=options)
    return as_url(shown), secrets


def _psql() -> str:
    """The bundled psql, which is never older than the bundled server; else one of the system."""
    bundled = bundled_binaries() / "psql"
    found = str(bundled) if os.access(bundled, os.X_OK) else shutil.which("psql")
    if found is None:
        raise CommandError("there is no psql here", f"make {Path(bundled)} executable, or install postgresql-client")
    return found
