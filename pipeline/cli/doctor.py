"""``flagpost doctor``: everything that has to be right, checked, with what to do where it is not."""

import asyncio
from typing import Annotated

import psycopg
import typer

from pipeline.cli.check_chain import check_chain
from pipeline.cli.check_database import check_bell, check_processes, check_queue, check_server, check_triggers
from pipeline.cli.check_senders import check_senders
from pipeline.cli.findings import Findings
from pipeline.cli.output import CommandError, out, print_json
from pipeline.cli.session import Connection, async_database, database
from pipeline.config import RuntimeConfig
from pipeline.db.migrate import Schema, installed_version
from pipeline.db.statements import statement
from pipeline.local.procfile import production_lines
from pipeline.settings import Settings


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Check the whole set-up and say what to do.

    Database, schema, triggers, a NOTIFY round trip, configuration, processes, queue; per chain: mnemonic, every
    node and its network, treasury, gas wallet, and what the gas policy `threshold` would spend on the wallets as
    they are. Exit code 1 if anything has to be done before the system can work.

    Example: [bold]flagpost doctor[/]
    """
    settings = Settings.load()
    found = Findings(quiet=as_json)
    try:
        with database(settings, "doctor") as connection:
            _check(found, connection, settings)
    except CommandError as error:
        found.fail("database", error.message, error.hint)
    except psycopg.OperationalError as error:
        found.fail("database", f"the connection was lost: {str(error).splitlines()[0]}", "run doctor again")
    if as_json:
        print_json(found.as_json())
    elif found.failed:
        out.print(f"\n[bold red]{found.failed} to repair[/], {found.warnings} to look at")
    elif found.warnings:
        out.print(f"\n[bold]it works[/]; {found.warnings} to look at")
    else:
        out.print("\n[bold green]all is well[/]")
    if found.failed:
        raise typer.Exit(1)


def _check(found: Findings, connection: Connection, settings: Settings) -> None:
    if not check_server(found, connection):
        return
    installed, config = asyncio.run(_schema_and_config(settings))
    wanted = Schema.of_this_version().version
    if installed < wanted:
        found.fail("schema", f"the schema is at version {installed}, this is {wanted}", "run: flagpost migrate")
    elif installed > wanted:
        found.fail("schema", f"the schema is at version {installed}, newer than this {wanted}", "upgrade Flagpost")
    else:
        found.ok("schema", f"schema at version {installed}")
    check_triggers(found, connection)
    check_bell(found, connection, settings)
    for problem in config.problems:
        found.warn("config", problem, "correct it: flagpost config set KEY VALUE")
    if not config.problems:
        found.ok("config", "configuration is valid")
    if config.paused:
        found.warn(
            "paused", "the whole system is paused: nothing new is taken", "go on: flagpost config set paused false"
        )
    check_processes(found, connection, {line.name for line in production_lines()}, system_paused=config.paused)
    check_queue(found, connection)
    check_senders(found, connection)
    chains = connection.execute(statement("doctor/chains")).fetchall()
    if not chains:
        found.warn(
            "chains", "there is no active chain", "see: flagpost chains list; switch one on: flagpost chains enable"
        )
    for chain in chains:
        found.about(chain["name"])
        asyncio.run(check_chain(found, connection, settings, chain))


async def _schema_and_config(settings: Settings) -> tuple[int, RuntimeConfig]:
    async with async_database(settings, "doctor") as connection:
        version = await installed_version(connection)
        return version, await RuntimeConfig.load(connection)
