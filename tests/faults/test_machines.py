"""cluster.yaml's own commands on a head and two workers that are machines of their own, without a cloud."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clouds.cluster_file import ROOT, bootstrap_file, start_commands
from clouds.machines import Machine, machines

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(600)]
# Where a task runs that needs a CPU.
TASK = """
import ray

@ray.remote(num_cpus=1)
def address():
    return ray.util.get_node_ip_address()

ray.init("auto", logging_level="ERROR")
print("TASK", ray.get(address.remote(), timeout=90))
"""
# What `ray up` says of each machine, from its resources in the file.
RESOURCES = {"head": '{"CPU": 0, "GPU": 0}', "worker": '{"CPU": 1, "GPU": 0}'}
# Two workers of Ray Train add up a number each, over gloo, and say where they are.
TRAINING = """
import os
import ray, torch, torch.distributed as dist
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

def work():
    number = torch.tensor([10.0 ** dist.get_rank()])
    dist.all_reduce(number)
    where = [None] * dist.get_world_size()
    dist.all_gather_object(where, ray.util.get_node_ip_address())
    if dist.get_rank() == 0:
        print("SUM", int(number), "ON", *sorted(where), "RENDEZVOUS", os.environ["MASTER_ADDR"])

ray.init(logging_level="ERROR")
print("LIVE", *sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]))
scaling = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1})
TorchTrainer(work, scaling_config=scaling, run_config=RunConfig(storage_path=os.environ["STORAGE"])).fit()
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder that each machine has for itself; short, since Ray keeps sockets in it."""
    return Path(f"/tmp/ray-{os.getpid()}")


def environment(own: Path, kind: str) -> dict[str, str]:
    """Environment of a login on a machine: its Python, Ray's folder, and what `ray up` sets."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "platform"),
        "RAY_TMPDIR": str(own),
        "RAY_OVERRIDE_RESOURCES": RESOURCES[kind],
        "OMP_NUM_THREADS": "1",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "240",
        # These machines' names have no address, so that gloo would take the loopback's.
        "GLOO_SOCKET_IFNAME": "eth0",
    }


def probes() -> tuple[list[str], list[str]]:
    """Returns the readiness probes of cluster-kuberay.yaml: the head's, and a worker's."""
    (cluster,) = [
        each
        for each in yaml.safe_load_all((ROOT / "cluster-kuberay.yaml").read_text(encoding="utf-8"))
        if each["kind"] == "RayCluster"
    ]
    groups = (cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"][0])
    head, worker = (group["template"]["spec"]["containers"][0]["readinessProbe"]["exec"]["command"] for group in groups)
    return head, worker


def give_token(machine: Machine, token: str) -> None:
    """Copy the token to a machine, as file_mounts do."""
    (machine.home / ".ray").mkdir()
    (machine.home / ".ray" / "auth_token").write_text(token)
    (machine.home / ".ray" / "auth_token").chmod(0o600)


def test_a_job_trains_across_machines_that_the_files_commands_started(tmp_path: Path, own: Path) -> None:
    log, training, token = tmp_path / "log.txt", tmp_path / "training.py", secrets.token_hex(32)
    training.write_text(TRAINING)
    with machines(tmp_path, ["head", "gpu0", "gpu1"], own) as (head, *workers):
        for machine in (head, *workers):
            give_token(machine, token)
        (head.home / "ray_bootstrap_config.yaml").write_text(bootstrap_file(len(workers)))
        assert head.run("; ".join(start_commands("head")), environment(own, "head"), log) == 0, log.read_text()[-3000:]
        started = [
            worker.start(
                "; ".join(start_commands("worker")), {**environment(own, "worker"), "RAY_HEAD_IP": head.address}, log
            )
            for worker in workers
        ]
        assert [process.wait(100) for process in started] == [0, 0], log.read_text()[-3000:]
        job = {**environment(own, "head"), "RAY_AUTH_MODE": "token", "STORAGE": str(tmp_path / "runs")}
        submit = f"ray job submit -- env STORAGE=$STORAGE python {training}"
        # Without the token nobody gets in.
        assert head.run(submit, {**job, "RAY_AUTH_TOKEN": "0" * 64}, log) != 0
        assert "SUM" not in log.read_text()
        assert head.run(submit, job, log, 300) == 0, log.read_text()[-4000:]
        # What Kubernetes asks of its pods these nodes answer, without a token.
        for machine, probe in zip((head, workers[0]), probes(), strict=True):
            asked = machine.run(shlex.join(probe), environment(own, "worker"), log)
            assert asked == 0, log.read_text()[-3000:]
    said = log.read_text()
    assert f"LIVE {' '.join(machine.address for machine in (head, *workers))}" in said
    # Nothing ran on the head; the rendezvous is at a worker's own address.
    both = [worker.address for worker in workers]
    rendezvous = re.search(rf"SUM 11 ON {re.escape(' '.join(both))} RENDEZVOUS (\S+)", said)
    assert rendezvous is not None and rendezvous[1] in both, said[-3000:]


def test_nodes_with_certificates_of_their_own_ca_speak_tls(tmp_path: Path, own: Path) -> None:
    log, task, token = tmp_path / "log.txt", tmp_path / "task.py", secrets.token_hex(32)
    task.write_text(TASK)
    page = (ROOT / "docs" / "clusters-aws.md").read_text(encoding="utf-8")
    # The lines that the page says to put before `ray start`.
    found = re.search(r"^    (bash \S+/tls\.sh node .+?;)\n((?:    .+\n)+)", page, re.MULTILINE)
    assert found is not None
    certify, use = found[1], " ".join(found[2].split())
    subprocess.run([str(ROOT / "cluster" / "tls.sh"), "ca", str(tmp_path / "tls")], check=True)
    with machines(tmp_path, ["head", "gpu0"], own) as (head, worker):
        for machine in (head, worker):
            give_token(machine, token)
            shutil.copytree(tmp_path / "tls", machine.home / ".ray" / "tls")
            (machine.home / "refusion-platform").mkdir()
            (machine.home / "refusion-platform" / "cluster").symlink_to(ROOT / "cluster")
        (head.home / "ray_bootstrap_config.yaml").write_text(bootstrap_file(1))
        for machine, kind in ((head, "head"), (worker, "worker")):
            stop, begin = start_commands(kind)
            names = {**environment(own, kind), "RAY_HEAD_IP": head.address}
            assert machine.run(f"{stop}; {certify} {use} {begin}", names, log) == 0, log.read_text()[-3000:]
        job = {**environment(own, "head"), "RAY_AUTH_MODE": "token"}
        assert head.run(f"{use} python {task}", job, log, 200) == 0, log.read_text()[-3000:]
        # Ray's head shows a certificate of this CA, for its own address.
        shown = tmp_path / "shown.txt"
        names = (
            f"-CAfile ~/.ray/tls/ca.crt -cert ~/.ray/tls/node.crt -key ~/.ray/tls/node.key -verify_ip {head.address}"
        )
        worker.run(f"openssl s_client -connect {head.address}:6379 {names} </dev/null", job, shown)
    assert f"TASK {worker.address}" in log.read_text()
    assert "Verify return code: 0 (ok)" in shown.read_text()
