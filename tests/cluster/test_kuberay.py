"""cluster-kuberay.yaml: facts that our jobs rely on, without a Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from refusion.config.settings import ImagesSettings, Settings
from refusion.runtime.cluster import Cluster, Node, addable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def documents() -> dict[str, Any]:
    """Objects of the file by kind, volume claims by their name."""
    found = list(yaml.safe_load_all((ROOT / "cluster-kuberay.yaml").read_text(encoding="utf-8")))
    named = {
        each["metadata"]["name"] if each["kind"] == "PersistentVolumeClaim" else each["kind"]: each for each in found
    }
    assert len(named) == len(found)
    return named


@pytest.fixture
def cluster(documents: dict[str, Any]) -> Any:
    return documents["RayCluster"]["spec"]


def pods(cluster: Any) -> Iterator[Any]:
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]["spec"]


def test_ray_is_the_one_of_the_constraints_file(cluster: Any) -> None:
    (version,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert cluster["rayVersion"] == version
    images = {container["image"] for pod in pods(cluster) for container in pod["containers"]}
    (project,) = re.findall(r'^version = "(\S+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert images == {f"REGISTRY/refusion-platform:{project}"}


def test_every_pod_has_the_token_and_asks_for_it(cluster: Any) -> None:
    assert cluster["authOptions"] == {"mode": "token", "secretName": "refusion-token"}
    assert "generic refusion-token --from-file=auth_token=" in (ROOT / "cluster-kuberay.yaml").read_text()


def test_nothing_is_reached_from_outside(documents: dict[str, Any], cluster: Any) -> None:
    head = cluster["headGroupSpec"]
    assert (head["serviceType"], head["enableIngress"]) == ("ClusterIP", False)
    assert head["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    policy = documents["NetworkPolicy"]["spec"]
    own = {"podSelector": {"matchLabels": {"ray.io/cluster": documents["RayCluster"]["metadata"]["name"]}}}
    assert policy["podSelector"] == own["podSelector"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"from": [own]}]
    assert "Ingress" not in documents


def test_no_container_is_root(cluster: Any) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    for pod in pods(cluster):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user[1]), int(user[2]))
        assert context["fsGroup"] == int(user[2])
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert cluster["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False


def test_every_container_has_bounds_and_probes(cluster: Any) -> None:
    for pod in pods(cluster):
        for container in pod["containers"]:
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"]
            for probe in ("readinessProbe", "livenessProbe"):
                # Python itself takes a moment to start; a busy node must not be ended for it.
                assert container[probe]["timeoutSeconds"] > 4
                compile(container[probe]["exec"]["command"][2], probe, "exec")


def test_workers_come_and_go_and_the_head_trains_nothing(cluster: Any) -> None:
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"]) == (0, 0)
        assert group["maxReplicas"] > 0


def test_a_job_on_the_head_counts_on_the_pods_that_could_be_started(
    documents: dict[str, Any], cluster: Any, tmp_path: Path
) -> None:
    (name,) = documents["ConfigMap"]["data"]
    (tmp_path / name).write_text(documents["ConfigMap"]["data"][name])
    (group,) = cluster["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    nodes = addable(tmp_path / name)
    assert nodes == (Node(float(limits["cpu"]), float(limits["nvidia.com/gpu"])),) * group["maxReplicas"]
    assert (
        Cluster((Node(0, 0),), nodes).concurrent_runs(Settings(gpu=True, workers=8, images=ImagesSettings(batch=8)), 8)
        == 2
    )
    # It lies where a job looks for it.
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    (mounted,) = [each for each in head["volumeMounts"] if each["name"] == "workers"]
    assert (mounted["mountPath"], mounted["subPath"]) == (f"/home/ray/{name}", name)


def test_volumes_that_are_mounted_are_claimed(documents: dict[str, Any], cluster: Any) -> None:
    for pod in pods(cluster):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in documents
    assert documents["refusion-runs"]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert all(
        "/runs" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]] for pod in pods(cluster)
    )
