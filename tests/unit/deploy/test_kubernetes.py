"""deploy/kubernetes against Kubernetes' own schemas. KEDA's objects have none here: their structure is tested."""

import copy
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.unit.deploy.files import KUBERNETES, SIGNING, TYPES, manifests, of_kind

VERSIONS = ("1.31", "1.37")
OF_KUBERNETES = [one for one in manifests() if not one["apiVersion"].startswith("keda.sh/")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", OF_KUBERNETES, ids=lambda one: f"{one['kind']}/{one['metadata']['name']}")
def test_each_is_of_its_schema(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_field_that_is_none_is_found() -> None:
    wrong = copy.deepcopy(of_kind("Deployment")["sweep"])
    wrong["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def workers() -> dict[str, dict[str, Any]]:
    """The pods' specs by type."""
    sets = of_kind("Deployment", "StatefulSet")
    return {name: one["spec"]["template"]["spec"] for name, one in sets.items()}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", [])}


def test_every_type_has_a_workload_and_a_disruption_budget() -> None:
    assert set(workers()) == set(of_kind("PodDisruptionBudget")) == TYPES
    assert {environment(one["containers"][0])["WORKER_TYPE"] for one in workers().values()} == TYPES


def test_a_worker_that_hangs_is_started_again() -> None:
    for name, pod in workers().items():
        worker = pod["containers"][0]
        ports = {one["name"] for one in worker["ports"]}
        for probe in ("startupProbe", "livenessProbe"):
            asked = worker[probe]["httpGet"]
            assert asked["path"] == "/health", name
            assert asked["port"] in ports, name


def test_pods_have_time_and_no_rights() -> None:
    for name, pod in workers().items():
        assert pod["terminationGracePeriodSeconds"] == 30, name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is False, name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"], name
            assert not rights["allowPrivilegeEscalation"], name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name
            assert "limits" in container["resources"], name


def test_the_mnemonic_is_with_pods_that_sign_alone_and_the_worker_sees_a_copy() -> None:
    for name, pod in workers().items():
        secrets = [one for one in pod["volumes"] if "secret" in one]
        assert bool(secrets) == (name in SIGNING), name
        worker = pod["containers"][0]
        mounted = {one["name"] for one in worker["volumeMounts"]}
        assert not mounted & {one["name"] for one in secrets}, name
        assert ("FLAGPOST_MNEMONIC_FILE" in environment(worker)) == (name in SIGNING), name
        assert mounted <= {one["name"] for one in pod["volumes"]} | {"ledger"}, name


def test_the_ledger_outlives_the_pods_that_sign() -> None:
    sets = of_kind("StatefulSet")
    assert set(sets) == SIGNING
    for one in sets.values():
        spec = one["spec"]
        assert spec["podManagementPolicy"] == "Parallel"
        assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["ledger"]
        worker = spec["template"]["spec"]["containers"][0]
        paths = {mount["name"]: mount["mountPath"] for mount in worker["volumeMounts"]}
        assert environment(worker)["FLAGPOST_SIGNING_LEDGER"].startswith(paths["ledger"] + "/")


def test_each_pod_that_signs_has_its_share_of_a_days_ceilings() -> None:
    policy = of_kind("ConfigMap")["flagpost-policy"]["data"]["policy.toml"]
    most = {of_kind("ScaledObject")[name]["spec"]["maxReplicaCount"] for name in SIGNING}
    assert policy.strip() == f"hosts = {max(most)}"


def test_keda_asks_the_function_that_decides() -> None:
    scaled = of_kind("ScaledObject")
    kinds = {name: one["kind"] for name, one in of_kind("Deployment", "StatefulSet").items()}
    for name, one in scaled.items():
        spec = one["spec"]
        assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": kinds[name], "name": name}
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 10)
        [trigger] = spec["triggers"]
        assert trigger["type"] == "postgresql"
        assert trigger["metadata"] == {"query": f"SELECT desired_workers('{name}')", "targetQueryValue": "1"}
        assert trigger["authenticationRef"]["name"] in of_kind("TriggerAuthentication")
    assert "replicas" not in of_kind("Deployment")["sync"]["spec"]
    assert set(scaled) == SIGNING | {"sync"}


def test_what_the_manifests_refer_to_is_there() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    given = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(kustomization["resources"]) == given
    names = set(of_kind("ConfigMap")) | set(of_kind("Secret"))
    for pod in workers().values():
        for source in pod["containers"][0]["envFrom"]:
            assert next(iter(source.values()))["name"] in names
        for volume in pod["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["secretName"] in names
