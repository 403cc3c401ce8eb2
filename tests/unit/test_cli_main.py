"""The `flagpost` command itself: fast help, one line for an error, honest exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS, build, load, report
from pipeline.settings import SettingsError

FLAGPOST = str(Path(sys.executable).with_name("flagpost"))
HEAVY = ("psycopg", "pydantic", "aiohttp", "bip_utils", "tronpy", "loguru")


def flagpost(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FLAGPOST, *arguments], capture_output=True, text=True, check=False, timeout=60, env=os.environ | variables
    )


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from pipeline.cli.main import build; "
        "build(None).main(['--help'], standalone_mode=False); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f" {name} " in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_has_help(name: str) -> None:
    assert load(name).help
    assert build(name).commands[name].name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_wraps_where_the_terminal_ends_and_not_where_the_source_does(name: str) -> None:
    command = load(name)
    for one in (command, *getattr(command, "commands", {}).values()):
        for paragraph in one.help.split("\n\n"):
            assert all(line.startswith("Example:") for line in paragraph.split("\n")[1:]), one.help


def test_version() -> None:
    done = flagpost("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "flagpost")


@pytest.mark.parametrize("arguments", [("no-such",), ("db", "no-such"), ("migrate", "--no-such")])
def test_what_is_typed_wrongly_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert flagpost(*arguments).returncode == 2


def test_a_malformed_environment_is_one_line() -> None:
    done = flagpost("db", "url", FLAGPOST_LOSSY_NOTIFY="perhaps")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "FLAGPOST_LOSSY_NOTIFY" in done.stderr


def test_db_start_with_a_database_of_ones_own() -> None:
    done = flagpost("db", "start", DATABASE_URL="postgresql://h/d")
    assert done.returncode == 1
    assert "unset DATABASE_URL" in done.stderr


def test_a_fault_of_ours_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(SettingsError("FLAGPOST_X: malformed")) == 1
    shown = capsys.readouterr().err
    assert shown.strip().endswith("FLAGPOST_X: malformed")
    assert "Traceback" not in shown
