"""Running commands in this process, as a person would type them."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli.main import run
from tests.logs import logging_restored

MNEMONIC = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
"""The vector of BIP39; never funded anywhere."""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self):
        """The document on stdout, which must be alone there."""
        return json.loads(self.out)


class Shell:
    """``shell("wallets", "list")`` types a command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.env = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: str) -> Answer:
        self._capfd.readouterr()
        self.env.setattr(sys, "argv", ["flagpost", *arguments])
        code = 0
        with logging_restored():
            try:
                run()
            except SystemExit as end:
                code = int(end.code or 0)
        captured = self._capfd.readouterr()
        return Answer(code, captured.out, captured.err)

    def fails(self, *arguments: str, code: int = 1) -> str:
        """What a command that does not work says on stderr; nothing may be on stdout."""
        answer = self(*arguments)
        assert (answer.code, answer.out) == (code, ""), answer
        assert "Traceback" not in answer.err
        return answer.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], database: str, home: Path) -> Shell:
    """A shell on the test's database, with the mnemonic of the vectors and an empty home."""
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("FLAGPOST_HOME", str(home))
    monkeypatch.setenv("FLAGPOST_MNEMONIC", MNEMONIC)
    return Shell(monkeypatch, capfd)
