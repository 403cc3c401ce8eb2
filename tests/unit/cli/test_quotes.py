"""What manual, findings and hints quote: commands that the CLI has, and messages that the code says."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS, load

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SQL = [path for folder in ("sql", "triggers") for path in sorted((ROOT / folder).rglob("*.sql"))]
CODE = sorted((ROOT / "pipeline").rglob("*.py"))

HOLE = "…"
"""What stands for a value, in messages and in the manual."""

OF_POSTGRES = {
    "permission denied for database",
    "User does not have CONNECT privilege",
    "terminating connection due to transaction timeout",
    "could not access file …",
    "violates check constraint",
}
"""Quoted, and said by Postgres."""


# -- commands

WITH_A_COMMAND = (
    "release_sender",
    "release_adopted_wallets",
    "retry_job",
    "retry_failed_jobs",
    "cancel_job",
    "cleanup_stuck_jobs",
    "set_wallet_flags",
    "set_chain_active",
    "set_chain_rule",
    "set_asset_active",
    "set_asset_rule",
    "set_asset_thresholds",
    "set_system_config",
)
"""Functions of operators that `flagpost` calls."""
IN_PROSE = re.compile(
    r"\bflagpost (?!up|devnet)[a-z][a-z-]*[a-z](?: (?:list|show|set|release|retry|cancel|add|draft|frozen|\w+-\w+)\b"
    r"(?: (?:--[a-z-]+|[A-Z]+\b|…|\d+))*)?"
)
"""A command within a sentence: as far as it cannot be a word of the sentence."""


def quoted_commands() -> Iterator[tuple[str, str]]:
    """Each command line that a text tells somebody to type, with its file."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines() if line.startswith("flagpost ")]
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        for line in lines + re.findall(r"`(flagpost [^`]+)`", prose):
            yield path.name, line
    for path in CODE:
        for text in literals(path):
            for marked in re.findall(r"\[bold\](?:\w+=\S+ )?(flagpost .+?)\[/\]|`(flagpost [a-z][^`]+)`", text):
                yield path.name, "".join(marked)
            for line in IN_PROSE.findall(text):
                yield path.name, line
    for path in SQL:
        for text in sql_literals(path):
            for line in IN_PROSE.findall(text):
                yield path.name, line


def misuse(line: str) -> str | None:
    """What the CLI would not take of a command line; its values are not looked at. None: nothing."""
    words = shlex.split(re.split(r" #| && | >>? | \|", line)[0])[1:]
    if words[0].startswith("-"):
        return None if words[0] in ("--help", "--version") else f"no option {words[0]}"
    name = words.pop(0)
    if name not in COMMANDS:
        return f"no command {name}"
    command = load(name)
    subcommands = getattr(command, "commands", {})
    if words and words[0] in subcommands:
        command = subcommands[words.pop(0)]
    elif subcommands and words and not words[0].startswith("-"):
        return f"{name} has no command {words[0]}"
    options = {text: one for one in command.params for text in (*one.opts, *one.secondary_opts)}
    given = 0
    while words and not command.context_settings.get("ignore_unknown_options"):
        word, _, value = words.pop(0).partition("=")
        if not word.startswith("--"):
            given += 1
        elif word == "--help":
            return None
        elif word not in options:
            return f"{command.name} has no {word}"
        elif not value and not getattr(options[word], "is_flag", False) and words:
            words.pop(0)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    if given > len(arguments) and all(one.nargs == 1 for one in arguments):
        return f"{command.name} takes {len(arguments)} arguments"
    return None


def test_every_quoted_command_is_one_of_the_cli():
    quoted = list(quoted_commands())
    assert [f"{file}: {line}: {wrong}" for file, line in quoted if (wrong := misuse(line))] == []
    assert len(quoted) > 150


@pytest.mark.parametrize(
    "line",
    ["flagpost mend", "flagpost jobs mend", "flagpost jobs retry --hourly", "flagpost senders release bsc 0x… now"],
)
def test_a_command_that_is_none_is_found(line: str):
    assert misuse(line)


def test_where_there_is_a_command_messages_name_it_and_not_its_function():
    """The function is for psql (``\\df+``); a message is read by whoever is at a shell."""
    call = re.compile(rf"SELECT (?:\* FROM )?(?:{'|'.join(WITH_A_COMMAND)})\(")  # noqa: S608 - not run
    said = [text for path in CODE for text in literals(path, docstrings=False)]
    said += re.findall(r"HINT = '((?:[^']|'')*)'", "\n".join(path.read_text(encoding="utf-8") for path in SQL))
    assert [text for text in said if call.search(text)] == []


# -- messages


def literals(path: Path, *, docstrings: bool = True) -> Iterator[str]:
    """Texts of a module, with HOLE for every value that is put in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and not docstrings:
            inside.add(node.value)
        if isinstance(node, ast.JoinedStr):
            inside.update(ast.walk(node))
            inside.discard(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield re.sub(r"\{[^{}]*\}", HOLE, node.value)


def sql_literals(path: Path) -> Iterator[str]:
    """Texts of a statement, with HOLE for every value that is put in."""
    text = re.sub(r"^\s*--.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for quoted in re.findall(r"'((?:[^']|'')*)'", text):
        yield re.sub(r"%%?[sIL]?", HOLE, quoted.replace("''", "'"))


@cache
def messages() -> str:
    """All of them, one a line."""
    found = [text for path in CODE for text in literals(path, docstrings=False)]
    found += [text for path in SQL for text in sql_literals(path)]
    return "\n".join(text.replace("\n", " ") for text in found)


def quoted_messages() -> list[str]:
    """What the first columns of the runbook quote."""
    runbook = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8").split("## Runbook of faults\n")[1]
    rows = [line.split(" | ")[0] for line in runbook.splitlines() if line.startswith("| ")]
    return [quote for row in rows for quote in re.findall(r'"([^"]+)"', row)]


def is_said(quote: str) -> bool:
    """Whether a message of the code has this form; a HOLE of the quote stands for anything."""
    parts = [re.escape(part) for part in quote.strip(f" {HOLE}").split(HOLE)]
    return quote in OF_POSTGRES or re.search(".*?".join(parts), messages()) is not None


def test_every_message_of_the_runbook_is_said_by_the_code():
    quotes = quoted_messages()
    assert [quote for quote in quotes if not is_said(quote)] == []
    assert len(quotes) > 70


def test_a_message_that_nobody_says_is_found():
    assert not is_said("sender … is in a bad mood")
