"""`flagpost worker`: which process WORKER_TYPE and BLOCKCHAIN name."""

import pytest

from pipeline.cli import processes
from pipeline.cli.main import COMMANDS, PROCESSES
from pipeline.settings import SettingsError

NOT_BY_TYPE = {"worker", "host"}
"""The command itself; the agent, which starts processes of its own."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was started instead of processes."""
    found: list[object] = []
    for name in processes.ON_CHAINS:
        monkeypatch.setitem(dict_of(processes.ON_CHAINS), name, lambda chains, name=name: found.append((name, chains)))
    for name in processes.ON_ALL_CHAINS:
        monkeypatch.setitem(dict_of(processes.ON_ALL_CHAINS), name, lambda name=name: found.append(name))
    return found


def dict_of(types: object) -> dict[str, object]:
    assert isinstance(types, dict)
    return types


@pytest.mark.parametrize(
    ("worker_type", "blockchain", "process"),
    [
        ("gas-topup", "tron", ("gas-topup", ["tron"])),
        ("GAS_TOPUP", "TRON, bsc", ("gas-topup", ["tron", "bsc"])),
        ("sync", "", ("sync", None)),
        ("confirmations", "all", ("confirmations", None)),
        ("sweep", "", "sweep"),
        ("sweep", "all", "sweep"),
    ],
)
def test_the_variables_name_the_process(
    monkeypatch: pytest.MonkeyPatch, started: list[object], worker_type: str, blockchain: str, process: object
) -> None:
    monkeypatch.setenv("WORKER_TYPE", worker_type)
    monkeypatch.setenv("BLOCKCHAIN", blockchain)
    processes.worker()
    assert started == [process]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "WORKER_TYPE is not set: expected one of sync, gas-topup, consolidation, confirmations, sweep"),
        ({"WORKER_TYPE": "gas"}, "WORKER_TYPE: there is no type 'gas'; expected one of sync, gas-topup,"),
        ({"WORKER_TYPE": "sweep", "BLOCKCHAIN": "tron"}, "BLOCKCHAIN: sweep serves every chain; leave it empty"),
    ],
)
def test_what_cannot_be_run_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, started: list[object], variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message.replace("'", ".")):
        processes.worker()
    assert started == []


def test_every_process_of_the_cli_is_a_type() -> None:
    commands = {name for name, entry in COMMANDS.items() if entry.panel == PROCESSES}
    assert commands - NOT_BY_TYPE == {*processes.ON_CHAINS, *processes.ON_ALL_CHAINS}
