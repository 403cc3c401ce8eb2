"""``flagpost config``: the settings, changed while the system runs."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from pipeline.admin import config
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.output import CommandError, err, out, print_json, print_table
from pipeline.config import ConfigEntry, RuntimeConfig
from pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Settings: show, set. Running processes obey at once.")


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
    entries = [
        entry
        for entry in run_action(Settings.load(), "config show", RuntimeConfig.describe)
        if key is None or entry.key.startswith(key)
    ]
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
    changed = run_action(
        Settings.load(), "config set", lambda connection: config.set_value(connection, key, _parsed(value))
    )
    before, after = changed.before, changed.value
    if as_json:
        print_json(asdict(changed))
    elif before == after:
        out.print(f"{escape(key)} was {escape(_plain(after))} already")
    else:
        out.print(f"{escape(key)}: {escape(_plain(before))} → [bold]{escape(_plain(after))}[/]")
    if after == "threshold" and key.endswith(".gas_policy"):
        err.print("what `threshold` spends on the wallets as they are: flagpost doctor")


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
