"""What workers of a running pipeline serve: all that rules and dashboard ask for; and to Prometheus, which finds them
by the file that `flagpost workers targets` writes."""

import json
import re
import shutil
import signal
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import new_environment
from tests.e2e.running import Running, flagpost, until
from tests.patience import PATIENCE
from tests.unit.deploy.test_monitoring import PROMETHEUS, RULES, dashboard_queries

UP = ["up", "--chains", "tron", "--every", "1", "--wallets", "3", "--seed", "7"]
WORKERS = 6
"""Of one chain: sync, gas-topup, consolidation, confirmations; sweep; and the agent that runs them."""
WANTED = {
    name
    for query in (*(str(rule["expr"]) for rule in RULES), *dashboard_queries())
    for name in re.findall(r"\b(?:flagpost|process)_[a-z_]+", query)
}
PANELS = [query for query in dashboard_queries() if not query.startswith("label_values(")]
FAILED_JOB = (
    "INSERT INTO job_logs (job_id, job_type, status, wallet_address, error_message)"
    " SELECT 'test-' || w.id, 'gas-topup', 'failed', w.address, 'of a test' FROM wallets w LIMIT 1"
)


@pytest.fixture(scope="module")
def pipeline(module_home: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which one works, that pays."""
    env = new_environment(module_home)
    with Running(UP, env) as up:
        up.line(r"treasury .*USDT \(\+")
        yield env
        assert up.stop(signal.SIGINT) == 0


def answer(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as got:  # noqa: S310 -- of this machine
        return str(got.read().decode())


def targets(env: Mapping[str, str]) -> list[str]:
    done = flagpost(["workers", "targets"], env)
    assert done.returncode == 0, done.stderr
    return [target for entry in json.loads(done.stdout) for target in entry["targets"]]


def until_nothing_is_left(left: Callable[[], set[str]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while names := left():
        assert time.monotonic() < deadline, f"{what}: {names}"


def test_all_that_rules_and_dashboard_ask_for_is_served(pipeline: Mapping[str, str]) -> None:
    """Some of it only while there is some: payments that are out, flags, an alert that stands."""
    assert flagpost(["config", "set", "alerts.interval_seconds", "1"], pipeline).returncode == 0
    made = flagpost(["db", "psql", "-c", FAILED_JOB], pipeline)
    assert made.returncode == 0, made.stderr
    scraped = targets(pipeline)
    assert len(scraped) == WORKERS
    assert len(WANTED) > 20
    seen: set[str] = set()

    def unseen() -> set[str]:
        for target in scraped:
            for family in text_string_to_metric_families(answer(f"http://{target}/metrics")):
                assert family.documentation, family.name
                seen.update(sample.name for sample in family.samples)
        return WANTED - seen

    until_nothing_is_left(unseen, "never served")


class Prometheus:
    """A server that finds its targets as deploy/prometheus/prometheus.yml says, by a file."""

    def __init__(self, port: int) -> None:
        self._at = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, what: str, **parameters: str) -> Any:
        said = json.loads(answer(f"{self._at}/{what}?{urllib.parse.urlencode(parameters)}"))
        assert said["status"] == "success", said
        return said["data"]

    def up(self) -> list[str]:
        """Targets that are scraped and answer."""
        found = self.ask("targets", state="active")["activeTargets"]
        return sorted(target["labels"]["instance"] for target in found if target["health"] == "up")

    def value(self, query: str) -> float | None:
        found = self.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None


@pytest.fixture
def targets_file(tmp_path: Path) -> Path:
    return tmp_path / "targets.json"


@pytest.fixture
def prometheus(tmp_path: Path, targets_file: Path) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is missing (Debian: apt-get install prometheus)")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = [job for job in config["scrape_configs"] if "file_sd_configs" in job]
    job["file_sd_configs"][0]["files"] = [str(targets_file)]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config |= {"scrape_configs": [job], "rule_files": [str(PROMETHEUS / "alerts.yml")]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Running(["prometheus", *arguments], {}, program=None) as server:
        server.line("Server is ready to receive web requests")
        yield Prometheus(port)
        assert server.stop() == 0, server.said


def test_prometheus_scrapes_the_workers_in_the_file(
    pipeline: Mapping[str, str], prometheus: Prometheus, targets_file: Path
) -> None:
    """That was not there when it began; each rule can be evaluated, and each panel of the dashboard shows something."""
    assert flagpost(["workers", "targets", "--file", str(targets_file)], pipeline).returncode == 0
    scraped = sorted(targets(pipeline))
    assert len(scraped) == WORKERS
    until(lambda: prometheus.up() == scraped, f"{scraped} are up")
    until(lambda: prometheus.value("flagpost_system_health") is not None, "the sweep was asked")
    assert prometheus.value("count(flagpost_worker_info)") == WORKERS

    def evaluated() -> bool:
        (group,) = prometheus.ask("rules")["groups"]
        assert [rule["lastError"] for rule in group["rules"] if rule.get("lastError")] == []
        return all(rule["health"] == "ok" for rule in group["rules"])

    until(evaluated, "every rule was evaluated")
    blank = set(PANELS)

    def still_blank() -> set[str]:
        for query in set(blank):
            if prometheus.ask("query", query=re.sub(r"\$\w+", ".*", query))["result"]:
                blank.remove(query)
        return blank

    until_nothing_is_left(still_blank, "panels of the dashboard that show nothing")
