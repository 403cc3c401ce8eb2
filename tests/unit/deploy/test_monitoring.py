"""What Prometheus and Grafana are given: by Prometheus' own tool, and held against what workers measure."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.metrics.process import POOL_COUNTERS, POOL_GAUGES
from pipeline.metrics.system import MEASURES

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "flagpost.json"
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
_NAME = re.compile(r"\b(?:flagpost|process)_[a-z_]+")
_OF_THE_LIBRARY = {"process_resident_memory_bytes"}


def measured() -> set[str]:
    """Names of all samples that a worker may serve."""
    names = {measure.name for measure in MEASURES}
    names |= {f"flagpost_pool_{name.removeprefix('pool_')}" for name in POOL_GAUGES}
    names |= {f"flagpost_pool_{short}_total" for short, _, _ in POOL_COUNTERS.values()}
    for path in (ROOT / "pipeline" / "metrics").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            kind, name = getattr(node.func, "id", ""), node.args[0].value
            if not isinstance(name, str) or not name.startswith("flagpost_"):
                continue
            match kind:
                case "Counter" | "CounterMetricFamily":
                    names.add(f"{name}_total")
                case "Histogram":
                    names |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
                case "InfoMetricFamily":
                    names.add(f"{name}_info")
                case _:
                    names.add(name)
    return names


def dashboard_queries() -> Iterator[str]:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in board["templating"]["list"]:
        yield variable["definition"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing(arguments: list[str]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing (Debian: apt-get install prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tried() -> None:
    """Each fires in one test, and does not in another."""
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    tried = [(of["alertname"], bool(of["exp_alerts"])) for test in tests for of in test["alert_rule_test"]]
    assert sorted(tried) == sorted((rule["alert"], fires) for rule in RULES for fires in (True, False))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_what_to_do_about_what_is_measured(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["action"]
    names = set(_NAME.findall(str(rule["expr"])))
    assert names
    assert names <= measured() | _OF_THE_LIBRARY


def test_every_query_of_the_dashboard_is_about_what_is_measured() -> None:
    queries = list(dashboard_queries())
    assert len(queries) > 25
    for query in queries:
        names = set(_NAME.findall(query))
        assert names, query
        assert names <= measured() | _OF_THE_LIBRARY, query


def test_the_dashboard_has_its_datasource() -> None:
    provisioned = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    )
    (uid,) = {source["uid"] for source in provisioned["datasources"]}
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert {panel["datasource"]["uid"] for panel in board["panels"] if "datasource" in panel} == {uid}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]}
    assert len(places) == len(board["panels"]), "no panel covers another one"


def test_what_is_measured_is_documented() -> None:
    """Every rule, and every measure by the name that the page of Prometheus shows."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert {rule["alert"] for rule in RULES} - set(re.findall(r"`(Flagpost\w+)`", page)) == set()
    said = set(re.findall(r"`(flagpost_[a-z_]+)", page))
    whole = {re.sub(r"_(bucket|count|sum)$", "", name) for name in measured()}
    assert {name for name in whole if name not in said and not name.startswith("flagpost_pool_")} == set()
