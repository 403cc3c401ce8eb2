"""The `flagpost` command: what there is, and how its errors reach people.

A command's module is imported only when it is called, so that `flagpost --help` answers at once. Such a module has
either an ``app`` (a ``typer.Typer``) or a function with the command's name.
"""

import atexit
import gc
import importlib
import importlib.metadata
import inspect
import re
import sys
from typing import Annotated, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

START, DAILY, OPERATE, PROCESSES = (
    "Start here",
    "Every day",
    "Set up and operate",
    "Processes, one line each in the Procfile",
)


class CommandEntry(NamedTuple):
    """One command of the top level."""

    module: str
    help: str
    panel: str


COMMANDS = {
    "up": CommandEntry("up", "Run a demonstration on this machine: database, TRON, BSC, workers, deposits.", START),
    "demo": CommandEntry("demo", "Run it unattended until every deposit is in the treasury; check the result.", START),
    "doctor": CommandEntry("doctor", "Check database, nodes, keys and funds; say what to do about each fault.", START),
    "status": CommandEntry("status", "How the whole is: health, workers, jobs, chains; what to do.", DAILY),
    "wallets": CommandEntry("wallets", "Deposit wallets: add, derive, import, list, set flags.", DAILY),
    "jobs": CommandEntry("jobs", "Jobs: list, show, retry, retry-failed, cleanup-stuck, cancel.", DAILY),
    "workers": CommandEntry("workers", "Workers: list, pause, resume, stop, start, restart.", DAILY),
    "history": CommandEntry("history", "Finished jobs by month: list, export to a file.", DAILY),
    "migrate": CommandEntry("migrate", "Bring the database to this version; safe to repeat.", OPERATE),
    "adopt": CommandEntry("adopt", "Take over a database with user_wallets of your own; a dry run first.", OPERATE),
    "chains": CommandEntry("chains", "Chains: add, list, enable, disable. No restart needed.", OPERATE),
    "assets": CommandEntry("assets", "Tokens: add, list, thresholds, enable, disable. No restart needed.", OPERATE),
    "config": CommandEntry("config", "Settings: show, set. Running processes obey at once.", OPERATE),
    "alerts": CommandEntry("alerts", "Alerts: list, show, ack, silence, unsilence, silences, test.", DAILY),
    "senders": CommandEntry("senders", "Paying addresses that are frozen or stuck: list, release.", OPERATE),
    "policy": CommandEntry("policy", "Signing policy of this host: show, draft a section.", OPERATE),
    "db": CommandEntry("db", "The database: psql, url, start.", OPERATE),
    "devnet": CommandEntry("devnet", "Run the simulated TRON network by itself.", OPERATE),
    "host": CommandEntry(
        "host", "Runs the workers of this host and keeps them running, in place of Honcho.", PROCESSES
    ),
    "sync": CommandEntry("processes", "Reads due balances from the chain and writes them to the database.", PROCESSES),
    "gas-topup": CommandEntry("processes", "Sends gas to wallets whose needs_gas flag is raised.", PROCESSES),
    "consolidation": CommandEntry("processes", "Moves tokens of flagged wallets to the treasury.", PROCESSES),
    "confirmations": CommandEntry(
        "processes", "Follows payments until they are final, then completes their jobs.", PROCESSES
    ),
    "sweep": CommandEntry("processes", "On a timer: starts missed jobs, takes jobs over from dead workers.", PROCESSES),
    "worker": CommandEntry("processes", "Runs one of these by WORKER_TYPE and BLOCKCHAIN, in a container.", PROCESSES),
}


_LINE_OF_A_PARAGRAPH = re.compile(r"(?<!\n)\n(?!\n|Example:)")
"""A line break inside a paragraph of a docstring; the help wraps as wide as the terminal is."""

HELP = """
Deposit wallets on TRON, BSC and Ethereum fill with tokens; Flagpost brings them to the treasury.

A flag in Postgres says what a wallet needs, NOTIFY wakes the process that acts on it, and a timer finds flags whose \
NOTIFY was lost.

[bold]flagpost up[/] shows all of it on this machine. With DATABASE_URL and FLAGPOST_* set, [bold]honcho start[/] \
runs the same processes in production.
"""

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help=HELP)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flagpost {importlib.metadata.version('flagpost')}")
        raise typer.Exit


@app.callback()
def prepare(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Runs before every command, not for the help of the top level."""
    from pipeline.log import configure_logging
    from pipeline.settings import Settings

    settings = Settings.load()
    called = context.invoked_subcommand or "flagpost"
    configure_logging(settings, (settings.worker_type or called) if called == "worker" else called)


def run() -> None:
    """The entry point: exit code 0 done, 1 it did not work and one line says why, 2 typed wrongly."""
    atexit.register(gc.freeze)  # all of it goes with the process; to collect it first takes half as long as a start
    called = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)
    try:
        build(called).main(prog_name="flagpost")
    except Exception as error:  # people get one line and an exit code; ``report`` logs the traceback of what is ours
        sys.exit(report(error))


def build(called: str | None) -> TyperGroup:
    """The top level with the command ``called`` as it is, and of all others name and one line."""
    group = typer.main.get_group(app)
    group.commands = {
        name: load(name) if name == called else TyperCommand(name, help=entry.help, rich_help_panel=entry.panel)
        for name, entry in COMMANDS.items()
    }
    return group


def load(name: str) -> TyperCommand | TyperGroup:
    """Import the command ``name`` of the table."""
    entry = COMMANDS[name]
    module = importlib.import_module(f"pipeline.cli.{entry.module}")
    typed = getattr(module, "app", None)
    if typed is None:
        typed = typer.Typer()
        typed.command(name)(getattr(module, name.replace("-", "_")))
    typed._add_completion = False  # every Typer would offer to install completion for itself
    command = typer.main.get_command(typed)
    assert isinstance(command, TyperCommand | TyperGroup)  # noqa: S101 - for the type checker
    command.name, command.rich_help_panel = name, entry.panel
    for one in (command, *getattr(command, "commands", {}).values()):
        one.help = _LINE_OF_A_PARAGRAPH.sub(" ", inspect.cleandoc(one.help or ""))
    return command


def report(error: Exception) -> int:
    """Say what went wrong; the exit code. Errors of our own are written for people, all others are bugs."""
    from psycopg.errors import ReadOnlySqlTransaction

    from pipeline.admin.errors import ActionError
    from pipeline.admin.session import read_only
    from pipeline.cli.output import CommandError, print_error

    family = type(error).__module__.split(".")[0]
    if isinstance(error, ActionError):
        print_error(error)
        return error.code if isinstance(error, CommandError) else 1
    if family == "pipeline":
        print_error(CommandError(str(error)))
    elif isinstance(error, ReadOnlySqlTransaction):
        print_error(read_only(error))
    elif family == "psycopg":
        print_error(CommandError(f"the database: {str(error).strip()}", "check it with: flagpost doctor"))
    else:
        from loguru import logger

        logger.exception("This is a bug in Flagpost")
    return 1
