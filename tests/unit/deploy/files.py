"""What deploy/ consists of, read as its engines read it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipeline.cli.processes import ON_ALL_CHAINS, ON_CHAINS

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
SYSTEMD = DEPLOY / "systemd"
COMPOSE = DEPLOY / "compose"
KUBERNETES = DEPLOY / "kubernetes"

TYPES = {*ON_CHAINS, *ON_ALL_CHAINS}
SIGNING = {"gas-topup", "consolidation"}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def manifests() -> Iterator[dict[str, Any]]:
    """Each document that the kustomization names, and of the example of Secrets."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    for name in [*kustomization["resources"], "secret.example.yaml"]:
        yield from yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))


def prometheus() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    return loaded


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    """Manifests by name."""
    return {one["metadata"]["name"]: one for one in manifests() if one["kind"] in kinds}


def unit(name: str) -> dict[str, list[str]]:
    """The keys of a unit of any section, with their values in order; an empty value takes back what was."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / name).read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            found.setdefault(key, []).append(value)
    return found
