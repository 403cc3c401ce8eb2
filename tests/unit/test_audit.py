"""``make audit`` finds what is wrong, and says where nobody answered."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"
QUIET = {"dependencies": [{"name": "x", "version": "1", "vulns": []}]}
NPM_QUIET: dict[str, Any] = {"metadata": {"dependencies": {"total": 3}}, "vulnerabilities": {}}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(monkeypatch: pytest.MonkeyPatch, audit: ModuleType, **said: Any) -> None:
    """What the tools print, by their names."""

    def run(command: list[Any], **_: Any) -> SimpleNamespace:
        tool = Path(str(command[0])).name.replace("-", "_")
        found = said.get(tool, {"pip_audit": QUIET, "npm": NPM_QUIET, "pip_licenses": []}[tool])
        return SimpleNamespace(stdout=found if isinstance(found, str) else json.dumps(found), stderr="no route to host")

    monkeypatch.setattr(audit.subprocess, "run", run)


def test_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch, audit: ModuleType) -> None:
    answers(monkeypatch, audit, pip_licenses=[{"Name": "q", "Version": "1", "License": "MIT OR GPL-3.0-only"}])
    assert audit.main() == 0


def test_a_known_vulnerability(
    monkeypatch: pytest.MonkeyPatch, audit: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    advisory = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}
    answers(monkeypatch, audit, pip_audit={"dependencies": [{"name": "x", "version": "1", "vulns": [advisory]}]})
    assert audit.main() == 1
    assert "✗ requirements.lock: x 1 has PYSEC-1; mended in 2" in capsys.readouterr().out
    audit.ACCEPTED["CVE-1"] = "we do not parse what it is about"
    assert audit.main() == 0


def test_a_vulnerable_npm_package(
    monkeypatch: pytest.MonkeyPatch, audit: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    vulnerable = {"severity": "high", "via": [{"url": "https://somewhere/GHSA-1"}]}
    answers(monkeypatch, audit, npm=NPM_QUIET | {"vulnerabilities": {"y": vulnerable}})
    assert audit.main() == 1
    assert "y has GHSA-1 (high)" in capsys.readouterr().out


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "MIT AND GPL-3.0-only", "UNKNOWN"])
def test_a_licence_that_is_not_on_the_list(
    monkeypatch: pytest.MonkeyPatch, audit: ModuleType, capsys: pytest.CaptureFixture[str], licence: str
) -> None:
    answers(monkeypatch, audit, pip_licenses=[{"Name": "z", "Version": "1", "License": licence}])
    assert audit.main() == 1
    assert f"z 1 is under '{licence}', which is not on the list" in capsys.readouterr().out


@pytest.mark.parametrize(
    "silent",
    [
        {"pip_audit": ""},
        {"pip_audit": {"dependencies": [{"name": "x", "skip_reason": "not found"}]}},
        {"npm": ""},
        {"npm": {"message": "405 Method Not Allowed"}},
    ],
)
def test_a_registry_that_does_not_answer_is_said_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, audit: ModuleType, capsys: pytest.CaptureFixture[str], silent: dict[str, Any]
) -> None:
    answers(monkeypatch, audit, **silent)
    assert audit.main() == 0
    assert "not audited" in capsys.readouterr().out
