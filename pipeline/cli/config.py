"""``flagpost config``: what the system is told, changed while it runs."""

import asyncio
import json
from typing import Annotated, Any

import psycopg
import typer
from rich.markup import escape

from pipeline.cli.output import CommandError, err, out, print_json, print_table
from pipeline.cli.session import async_database
from pipeline.config import ConfigEntry, ConfigError, RuntimeConfig
from pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Configuration: show, set. Takes effect while the system runs.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command()
def show(
    key: Annotated[str | None, typer.Argument(help="Only settings whose key starts with this.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every setting in force; values that differ from the default are marked.

    Keys like sweep.interval_seconds hold for the whole system, keys like tron.gas_policy or
    tron.USDT.consolidate_flag_above for a chain or an asset.

    Example: [bold]flagpost config show tron[/]
    """
    entries = [entry for entry in asyncio.run(_describe()) if key is None or entry.key.startswith(key)]
    if not entries:
        raise CommandError(f"no setting starts with {key!r}", "see: flagpost config show")
    if as_json:
        print_json(
            [{"key": e.key, "value": e.value, "default": e.default, "description": e.description} for e in entries]
        )
        return
    print_table(
        ("setting", "value", "default", "meaning"),
        [
            (
                escape(entry.key),
                _marked(entry),
                "" if entry.default is None else f"[dim]{escape(_plain(entry.default))}[/]",
                f"[dim]{escape(entry.description)}[/]",
            )
            for entry in entries
        ],
    )


# So that "-1 TRX" is a value, refused for what it says, and no option.
@app.command("set", context_settings={"ignore_unknown_options": True})
def set_value(
    key: Annotated[str, typer.Argument(help="As `flagpost config show` prints it.")],
    value: Annotated[str, typer.Argument(help="A number, true, false, null, a word, or an amount like '5 TRX'.")],
    as_json: JsonOption = False,
) -> None:
    """Change one setting. Running processes take it over at the commit.

    Amounts are given with their symbol ('5 TRX') or as whole raw units (5000000), times in seconds or as 10m, 2h.

    Example: [bold]flagpost config set sweep.interval_seconds 60[/]
    Example: [bold]flagpost config set tron.gas_amount '7.5 TRX'[/]
    """
    before, after = asyncio.run(_set(key, _parsed(value)))
    if as_json:
        print_json({"key": key, "before": before, "value": after})
    elif before == after:
        out.print(f"{escape(key)} was {escape(_plain(after))} already")
    else:
        out.print(f"{escape(key)}: {escape(_plain(before))} → [bold]{escape(_plain(after))}[/]")
    if after == "threshold" and key.endswith(".gas_policy"):
        err.print("what `threshold` spends on the wallets as they are: flagpost doctor")


async def _describe() -> list[ConfigEntry]:
    async with async_database(Settings.load(), "config show") as connection:
        return await RuntimeConfig.describe(connection)


async def _set(key: str, value: Any) -> tuple[Any, Any]:
    """The value before and after."""
    async with async_database(Settings.load(), "config set") as connection:
        before = {entry.key: entry.value for entry in await RuntimeConfig.describe(connection)}
        try:
            await RuntimeConfig.set(connection, key, value)
        except ConfigError as error:
            see = "" if "flagpost config show" in str(error) else "; see: flagpost config show"
            raise CommandError(str(error), f"nothing was changed{see}") from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise CommandError(str(error), "use a DATABASE_URL whose user may do this") from None
        after = {entry.key: entry.value for entry in await RuntimeConfig.describe(connection)}
    return before.get(key), after.get(key)


def _parsed(text: str) -> Any:
    """JSON where it is JSON (300, true, null), otherwise the word itself (on_demand, 5 TRX)."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _marked(entry: ConfigEntry) -> str:
    text = escape(_plain(entry.value))
    return f"[bold yellow]{text}[/]" if entry.default is not None and entry.value != entry.default else text
