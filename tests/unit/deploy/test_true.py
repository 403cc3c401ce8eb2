"""deploy/ stays true: commands, variables, paths."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS
from tests.unit.deploy.files import COMPOSE, DEPLOY, KUBERNETES, ROOT, SYSTEMD, compose, of_kind

TEXTS = sorted(
    path for folder in (SYSTEMD, COMPOSE, KUBERNETES, DEPLOY / "docker") for path in folder.rglob("*") if path.is_file()
)
PER_CHAIN = re.compile(r"FLAGPOST_(NODES|API_KEYS|TREASURY)_[A-Z]+")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def variables(text: str) -> set[str]:
    return set(re.findall(r"\b(?:FLAGPOST_[A-Z_]+[A-Z]|DATABASE_URL|WORKER_TYPE|BLOCKCHAIN)\b", text))


def known() -> set[str]:
    """What settings.py reads."""
    return variables(read(ROOT / "pipeline/settings.py"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_variable_is_read(path: Path) -> None:
    assert {name for name in variables(read(path)) - known() if not PER_CHAIN.fullmatch(name)} == set()


def commands() -> Iterator[tuple[str, str]]:
    for path in SYSTEMD.rglob("*.service"):
        for line in re.findall(r"^ExecStart=(.+)$", read(path), re.MULTILINE):
            program, command = line.split()[:2]
            assert program == "/opt/flagpost/bin/flagpost"
            yield path.name, command
    for name, service in compose()["services"].items():
        if service["image"].startswith("flagpost"):
            yield name, service.get("command", ["worker"])[0]
    for name, one in of_kind("Deployment", "StatefulSet", "Job").items():
        yield name, one["spec"]["template"]["spec"]["containers"][0]["args"][0]
    yield "Dockerfile", re.findall(r'^CMD \["(.+)"\]$', read(DEPLOY / "docker/Dockerfile"), re.MULTILINE)[-1]


def test_every_command_is_one_of_the_cli() -> None:
    found = {(where, command) for where, command in commands() if command != "%i"}
    assert {(where, command) for where, command in found if command not in COMMANDS} == set()
    assert len(found) > 10


def test_what_is_mounted_and_copied_is_there() -> None:
    mounted = [
        volume.split(":")[0]
        for service in compose()["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("..")
    ]
    assert [path for path in mounted if not (COMPOSE / path).exists()] == []
    build = compose()["services"]["sweep"]["build"]
    assert (COMPOSE / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    copied = [
        name
        for line in re.findall(r"^COPY (?!--)(.+)$", read(ROOT / build["dockerfile"]), re.MULTILINE)
        for name in line.split()[:-1]
    ]
    allowed = [line[1:] for line in read(ROOT / ".dockerignore").splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(allowed)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_named_volumes_and_secrets_are_declared() -> None:
    whole = compose()
    volumes = {
        volume.split(":")[0]
        for service in whole["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "/"))
    }
    assert volumes == set(whole["volumes"])
    assert {name for one in whole["services"].values() for name in one.get("secrets", [])} == set(whole["secrets"])


def test_every_variable_of_compose_has_an_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", read(COMPOSE / "compose.yaml")))
    given = set(re.findall(r"^([A-Z_]+)=", read(COMPOSE / ".env.example"), re.MULTILINE))
    assert asked == given
