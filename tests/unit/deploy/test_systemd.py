"""deploy/systemd: systemd's own checks, without systemd as process 1."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.scaling.agent import GRACE_SECONDS
from pipeline.workers.runtime import HAND_BACK_SECONDS
from tests.unit.deploy.files import SIGNING, SYSTEMD, TYPES, prometheus, unit

SERVICES = ("flagpost@.service", "flagpost-host.service", "flagpost-migrate.service", "flagpost-targets.service")
SINCE_254 = {"RestartSteps", "RestartMaxDelaySec"}
"""Keys that an older systemd passes over, and says so."""
WORST_EXPOSURE = 1.5
"""Of 10, as systemd-analyze counts."""
SYSTEM = Path("/lib/systemd/system")
AGENT_SECONDS = GRACE_SECONDS + 2 * HAND_BACK_SECONDS
"""The most that the agent of a host takes to end."""
HARDENING = re.compile(r"^(Protect|Private|Restrict|SystemCall|Memory(?!Max)|NoNew|Capab|Ambient|Lock|RemoveIPC|UMask)")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not SYSTEM.is_dir(), reason="systemd is not installed"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root with systemd's own units, ours, and a program where they look for it."""
    shutil.copytree(SYSTEM, tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    shutil.copytree(SYSTEMD, tmp_path / "etc/systemd/system")
    program = tmp_path / "opt/flagpost/bin/flagpost"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def verify(root: Path) -> list[str]:
    """What systemd finds wrong."""
    units = [*SERVICES[1:], *(f"flagpost@{name}.service" for name in sorted(TYPES))]
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "flagpost.target", "flagpost-targets.timer", *units],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines() + ([f"exit code {done.returncode}"] if done.returncode else [])
    return [line for line in lines if not re.search(f"Unknown key (name )?'({'|'.join(SINCE_254)})'", line)]


@needs_systemd
def test_systemd_takes_every_unit(installed: Path) -> None:
    assert verify(installed) == []


@needs_systemd
def test_a_key_that_is_none_is_found(installed: Path) -> None:
    service = installed / "etc/systemd/system/flagpost@.service"
    service.write_text(service.read_text(encoding="utf-8").replace("KillMode=", "KillMod="), encoding="utf-8")
    assert any("KillMod" in line for line in verify(installed))


@needs_systemd
@pytest.mark.parametrize("name", ["flagpost@gas-topup.service", *SERVICES[1:]])
def test_the_host_is_closed_to_the_processes(installed: Path, name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--root={installed}", name],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    exposure = re.search(r"exposure level for .*: ([0-9.]+)", done.stdout)
    assert exposure
    assert float(exposure[1]) <= WORST_EXPOSURE, done.stdout


def test_the_hardening_of_all_services_is_the_same() -> None:
    first, *others = [{key: value for key, value in unit(name).items() if HARDENING.match(key)} for name in SERVICES]
    assert len(first) > 15
    assert all(other == first for other in others)


@pytest.mark.parametrize(("name", "most"), [("flagpost@.service", 10), ("flagpost-host.service", AGENT_SECONDS)])
def test_a_process_is_given_the_time_to_hand_back_and_is_started_again(name: str, most: float) -> None:
    keys = unit(name)
    assert (keys["KillMode"], keys["Restart"]) == (["mixed"], ["always"])
    assert float(keys["TimeoutStopSec"][0]) > most


def test_the_mnemonic_is_with_those_that_sign_alone() -> None:
    dropins = {path.parent.name: path for path in SYSTEMD.glob("*.d/*.conf")}
    assert set(dropins) == {f"flagpost@{name}.service.d" for name in SIGNING}
    for path in dropins.values():
        keys = unit(str(path.relative_to(SYSTEMD)))
        assert keys["LoadCredential"] == ["mnemonic:/etc/flagpost/mnemonic"]
        assert keys["Environment"] == ["FLAGPOST_MNEMONIC_FILE=%d/mnemonic"]
    assert "LoadCredential" not in unit("flagpost@.service")
    assert "LoadCredential" not in unit("flagpost-migrate.service")
    assert "LoadCredential" not in unit("flagpost-targets.service")


def test_scrape_targets_are_written_where_prometheus_looks_as_often_as_it_does() -> None:
    service, timer = unit("flagpost-targets.service"), unit("flagpost-targets.timer")
    file = service["ExecStart"][0].split("--file ")[1].replace("%t", "/run")
    (scrape,) = [one for one in prometheus()["scrape_configs"] if "file_sd_configs" in one]
    (read,) = scrape["file_sd_configs"]
    assert read["files"] == [file]
    assert read["refresh_interval"] == timer["OnUnitInactiveSec"][0] + "s"
    directory = Path(file).parent
    assert (service["RuntimeDirectory"], directory.parent) == ([directory.name], Path("/run"))
    assert (service["RuntimeDirectoryMode"], service["RuntimeDirectoryPreserve"]) == (["0755"], ["yes"])


def test_the_target_says_how_every_type_is_enabled() -> None:
    text = (SYSTEMD / "flagpost.target").read_text(encoding="utf-8")
    named = re.search(r"flagpost@\{([a-z,-]+)\}\.service", text)
    assert named
    assert set(named[1].split(",")) == TYPES
