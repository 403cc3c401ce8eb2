"""Running commands in this process, as a person would type them."""

import json
import sys
from dataclasses import dataclass

import pytest

from pipeline.cli.main import run

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
