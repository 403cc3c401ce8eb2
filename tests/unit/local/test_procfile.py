"""The Procfile is production's; local mode keeps production's secrets out of its processes."""

import importlib

import pytest

from pipeline.cli.main import COMMANDS
from pipeline.local.procfile import child_environment, production_lines


def test_every_line_is_a_command_of_its_own_name():
    lines = production_lines()
    assert [line.name for line in lines] == ["sync", "gas-topup", "consolidation", "confirmations", "sweep"]
    for line in lines:
        assert line.argv == ["flagpost", line.name]
        module = importlib.import_module(f"pipeline.cli.{COMMANDS[line.name].module}")
        assert callable(getattr(module, line.name.replace("-", "_")))


@pytest.mark.parametrize(
    "variable",
    [
        "FLAGPOST_MNEMONIC",
        "FLAGPOST_MNEMONIC_FILE",
        "FLAGPOST_TREASURY_TRON",
        "FLAGPOST_NODES_TRON",
        "FLAGPOST_LOG_JSON",
    ],
)
def test_what_production_says_does_not_reach_the_simulated_network(monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, "secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://production/")
    env = child_environment(tmp_path, "postgresql://given/", EXTRA="1")
    assert variable not in env
    assert (env["DATABASE_URL"], env["FLAGPOST_HOME"], env["EXTRA"]) == ("postgresql://given/", str(tmp_path), "1")


def test_without_a_database_of_its_own_no_other_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgresql://production/")
    assert "DATABASE_URL" not in child_environment(tmp_path, None)
