"""What a process hands on to those that it starts."""

import sys
from pathlib import Path

import pytest

from pipeline.environment import (
    environment_of_child,
    environment_of_slot,
    environment_without_settings,
    program_beside,
)

OURS = {"HOME": "/h", "DATABASE_URL": "d", "FLAGPOST_SLOT": "a", "FLAGPOST_LOG_LEVEL": "INFO"}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)


def test_a_child_with_settings_of_its_own_gets_none_of_ours() -> None:
    handed_on = environment_without_settings()
    assert {name: handed_on.get(name) for name in OURS} == {
        "HOME": "/h",
        "DATABASE_URL": None,
        "FLAGPOST_SLOT": None,
        "FLAGPOST_LOG_LEVEL": "INFO",
    }


def test_a_child_gets_ours_and_more() -> None:
    handed_on = environment_of_child(HOME="/other", PGPASSWORD="p")
    assert {name: handed_on[name] for name in (*OURS, "PGPASSWORD")} == OURS | {"HOME": "/other", "PGPASSWORD": "p"}


@pytest.mark.parametrize(("slot", "handed_on"), [("b", "b"), (None, "a")])
def test_what_takes_the_place_of_a_process_gets_its_slot(slot: str | None, handed_on: str) -> None:
    assert environment_of_slot(slot)["FLAGPOST_SLOT"] == handed_on


def test_a_program_is_the_one_installed_with_this_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert program_beside("flagpost") == "flagpost"
    (tmp_path / "flagpost").touch()
    assert program_beside("flagpost") == str(tmp_path / "flagpost")
