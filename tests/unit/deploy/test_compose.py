"""deploy/compose against the Compose specification, and what it promises beyond that."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.unit.deploy.files import COMPOSE, DEPLOY, SIGNING, TYPES, compose

CHECK = str(Path(sys.executable).with_name("check-jsonschema"))


def check(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CHECK, "--builtin-schema", "vendor.compose-spec", str(path)], capture_output=True, text=True, check=False
    )


def test_it_is_of_the_compose_specification() -> None:
    done = check(COMPOSE / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_a_key_that_is_none_is_found(tmp_path: Path) -> None:
    wrong = compose()
    wrong["services"]["sweep"]["replicas"] = 2
    path = tmp_path / "compose.yaml"
    path.write_text(yaml.safe_dump(wrong), encoding="utf-8")
    assert check(path).returncode == 1


def test_every_type_of_worker_has_a_service_of_each_chain() -> None:
    workers = {
        (one["environment"]["WORKER_TYPE"], one["environment"]["BLOCKCHAIN"])
        for one in compose()["services"].values()
        if "WORKER_TYPE" in one.get("environment", {})
    }
    on_chains = TYPES - {"sweep"}
    assert workers == {(name, chain) for name in on_chains for chain in ("tron", "bsc")} | {("sweep", "")}


def test_workers_are_given_time_and_wait_for_the_migration() -> None:
    for name, one in compose()["services"].items():
        if "WORKER_TYPE" not in one.get("environment", {}):
            continue
        assert one["stop_grace_period"] == "20s", name
        assert one["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}, name
        assert "replicas" in one["deploy"], name


def test_the_mnemonic_and_the_ledger_are_with_those_that_sign_alone() -> None:
    for name, one in compose()["services"].items():
        signs = one.get("environment", {}).get("WORKER_TYPE") in SIGNING
        assert ("secrets" in one) == signs, name
        assert ("FLAGPOST_MNEMONIC_FILE" in one.get("environment", {})) == signs, name
        assert ("signed:/var/lib/flagpost" in one.get("volumes", [])) == signs, name


def test_prometheus_finds_every_worker() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    names = {
        name for job in config["scrape_configs"] for found in job.get("dns_sd_configs", []) for name in found["names"]
    }
    services = compose()["services"]
    assert names == {name for name, one in services.items() if "WORKER_TYPE" in one.get("environment", {})}
