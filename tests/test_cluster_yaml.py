"""cluster.yaml against Ray's own checks, without AWS, and the facts that our jobs rely on."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from clouds.account import BUCKET, account
from ray.autoscaler._private.aws.config import DEFAULT_AMI, bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND

from refusion.config.settings import ImagesSettings, Settings
from refusion.runtime.cluster import Cluster, Node, addable

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "cluster.yaml"


@pytest.fixture
def written() -> Any:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


@pytest.fixture
def prepared(written: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file as `ray up` has it before it talks to AWS: with Ray's defaults filled in."""
    monkeypatch.chdir(ROOT)
    return prepare_config(written)


@pytest.fixture
def kinds(prepared: Any) -> Any:
    """Configuration of each kind of machine, as EC2 gets it."""
    return {name: kind["node_config"] for name, kind in prepared["available_node_types"].items()}


def workers(content: Any) -> dict[str, Any]:
    return {name: kind for name, kind in content["available_node_types"].items() if name != content["head_node_type"]}


def start_commands(content: Any) -> Iterator[str]:
    for place in ("head_start_ray_commands", "worker_start_ray_commands"):
        yield next(command for command in content[place] if "ray start" in command)


def test_ray_accepts_it(prepared: Any) -> None:
    validate_config(prepared)


def test_ray_would_refuse_a_slip(prepared: Any) -> None:
    with pytest.raises(Exception, match="idle_minutes"):
        validate_config({**prepared, "idle_minutes": 5})


def test_nothing_but_jobs_drivers_lands_on_the_head(prepared: Any) -> None:
    head = prepared["available_node_types"][prepared["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert head["max_workers"] == 0


def test_workers_have_several_gpus_and_come_and_go(written: Any) -> None:
    assert workers(written)
    for kind in workers(written).values():
        assert kind["resources"]["GPU"] > 1
        assert kind["resources"]["CPU"] >= kind["resources"]["GPU"]
        assert kind["min_workers"] == 0
        assert kind["max_workers"] in (0, written["max_workers"])
    # One kind at a time: which of two kinds Ray starts is not ours to say.
    assert sum(kind["max_workers"] > 0 for kind in workers(written).values()) == 1


@pytest.fixture
def launched(prepared: Any) -> Iterator[dict[str, Any]]:
    """One machine of each kind, as Ray starts it in an account of moto's that aws_account.py has set up."""
    with account():
        set_up = runpy.run_path(str(ROOT / "cluster" / "aws_account.py"))["main"]
        assert set_up(["--bucket", BUCKET, "--ssh-from", "203.0.113.7/32"]) == 0
        configured = bootstrap_aws(prepared)
        provider = AWSNodeProvider(configured["provider"], configured["cluster_name"])
        found, tags = {}, {TAG_RAY_LAUNCH_CONFIG: "first"}
        for name, kind in configured["available_node_types"].items():
            profile = configured["head_node"] if name == "head" else {}
            (node,) = provider.create_node(
                {**kind["node_config"], **profile}, tags | {TAG_RAY_NODE_KIND: name}, 1
            ).values()
            found[name] = node.meta.client.describe_instances(InstanceIds=[node.id])["Reservations"][0]["Instances"][0]
        yield found


def test_ray_starts_machines_with_these_roles_and_this_group(launched: dict[str, Any]) -> None:
    ec2 = boto3.client("ec2", region_name="us-west-2")
    for name, machine in launched.items():
        role = "refusion-head" if name == "head" else "refusion-worker"
        assert machine["IamInstanceProfile"]["Arn"].endswith(f":instance-profile/{role}")
        (group,) = machine["SecurityGroups"]
        assert group["GroupName"] == "refusion"
        (found,) = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
        # Ray adds its own rules only to a group that has none.
        assert [entry["CidrIp"] for rule in found["IpPermissions"] for entry in rule["IpRanges"]] == ["203.0.113.7/32"]
        assert {"Key": "ray-cluster-name", "Value": "refusion"} in machine["Tags"]
        disks = [disk["Ebs"]["VolumeId"] for disk in machine["BlockDeviceMappings"]]
        assert all(volume["Encrypted"] for volume in ec2.describe_volumes(VolumeIds=disks)["Volumes"])
    assert launched["gpu_4_spot"]["InstanceLifecycle"] == "spot"


def test_no_worker_has_the_role_that_may_start_machines(kinds: Any) -> None:
    profiles = {name: kind["IamInstanceProfile"]["Name"] for name, kind in kinds.items()}
    assert profiles == {"head": "refusion-head", "gpu_4": "refusion-worker", "gpu_4_spot": "refusion-worker"}


def test_every_node_wants_imdsv2_and_encrypts_its_disks(kinds: Any) -> None:
    for kind in kinds.values():
        assert kind["MetadataOptions"]["HttpTokens"] == "required"
        assert kind["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert kind["BlockDeviceMappings"]
        assert all(disk["Ebs"]["Encrypted"] is True for disk in kind["BlockDeviceMappings"])


def test_spot_machines_differ_from_the_others_in_their_market_alone(kinds: Any, prepared: Any, tmp_path: Path) -> None:
    spot = dict(kinds["gpu_4_spot"])
    assert spot.pop("InstanceMarketOptions")["MarketType"] == "spot"
    assert spot == kinds["gpu_4"]
    # As the file says: the two numbers exchanged.
    both = prepared["available_node_types"]
    both["gpu_4"]["max_workers"], both["gpu_4_spot"]["max_workers"] = 0, both["gpu_4"]["max_workers"]
    (tmp_path / "exchanged.yaml").write_text(yaml.safe_dump(prepared))
    assert addable(tmp_path / "exchanged.yaml") == (Node(48, 4),) * 4


def test_a_job_on_the_head_counts_on_the_workers_that_could_be_started(prepared: Any, tmp_path: Path) -> None:
    on_head = tmp_path / "ray_bootstrap_config.yaml"
    on_head.write_text(yaml.safe_dump(prepared))
    nodes = addable(on_head)
    assert nodes == (Node(48, 4),) * 4
    cluster = Cluster((Node(0, 0),), nodes)
    eight = Settings(gpu=True, workers=8, images=ImagesSettings(batch=8))
    assert cluster.concurrent_runs(eight, threads=8) == 2


def test_every_node_starts_from_the_image_that_the_account_notes(kinds: Any) -> None:
    for kind in kinds.values():
        assert kind["ImageId"] == "resolve:ssm:/refusion/image"
        assert kind["ImageId"] not in DEFAULT_AMI.values()


def test_every_node_has_the_token_and_asks_for_it(prepared: Any) -> None:
    assert prepared["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for command in start_commands(prepared):
        before, _, _ = command.partition("ray start")
        assert "export RAY_AUTH_MODE=token" in before
        assert "ulimit -n 65536;" in before


def test_the_dashboard_is_not_reachable_from_outside(prepared: Any) -> None:
    head, _ = start_commands(prepared)
    assert "--dashboard-host=127.0.0.1" in head
    # Rules here would come on top of Ray's own, which open SSH to everybody.
    assert prepared["provider"]["security_group"] == {"GroupName": "refusion"}


def test_uv_comes_by_its_checksum(prepared: Any) -> None:
    (line,) = [line for line in (ROOT / "cluster" / "uv.txt").read_text().splitlines() if not line.startswith("#")]
    assert re.fullmatch(r"uv==\d+\.\d+\.\d+( --hash=sha256:[0-9a-f]{64})+", line)
    for place in ("head_setup_commands", "worker_setup_commands"):
        assert not any("curl" in command or "wget" in command for command in prepared[place])
        (command,) = [command for command in prepared[place] if "cluster/uv.txt" in command]
        assert "--require-hashes" in command


def test_all_is_installed_with_the_constraints_file(prepared: Any) -> None:
    for place in ("head_setup_commands", "worker_setup_commands"):
        installing = [command for command in prepared[place] if "venv/bin/pip install" in command]
        assert installing
        assert all("-c ~/refusion-platform/constraints.txt" in command for command in installing)
        assert any(command.endswith(" torch") for command in installing)
        assert any(command.endswith(" ~/refusion-platform") for command in installing)


def test_what_pip_needs_is_copied_and_nothing_large(prepared: Any) -> None:
    mounted = {ROOT / local for local in prepared["file_mounts"].values() if not local.startswith("~")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [project["project"]["readme"], *project["project"]["license-files"]]
    named += project["tool"]["setuptools"]["packages"]["find"]["where"]
    assert mounted >= {ROOT / name for name in ("pyproject.toml", "constraints.txt", *named)}
    assert all(path.exists() for path in mounted)
    assert ROOT not in mounted
    assert {"**/.git", "**/.venv"} <= set(prepared["rsync_exclude"])


def test_jobs_on_the_head_write_to_the_server_there(prepared: Any) -> None:
    server, *_ = prepared["head_start_ray_commands"]
    # Before Ray, and for this machine alone.
    assert server.startswith("bash ~/refusion-platform/cluster/mlflow_on_head.sh s3://")
    script = (ROOT / "cluster" / "mlflow_on_head.sh").read_text()
    host, port = (re.search(rf"--{option} (\S+)", script) for option in ("host", "port"))
    assert host and port
    head, _ = start_commands(prepared)
    assert f"MLFLOW_TRACKING_URI=http://{host[1]}:{port[1]};" in head
    assert host[1] == "127.0.0.1"


@pytest.mark.parametrize(
    "place",
    [
        "initialization_commands",
        "head_setup_commands",
        "worker_setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
    ],
)
def test_every_command_is_bash(prepared: Any, place: str) -> None:
    for command in prepared[place]:
        checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_the_login_line_is_written_once(prepared: Any, tmp_path: Path) -> None:
    line = next(command for command in prepared["initialization_commands"] if "RAY_AUTH_MODE" in command)
    for _ in range(2):
        subprocess.run(["bash", "-c", line], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True)
    asked = subprocess.run(
        ["bash", "-c", "source ~/.bashrc; echo $RAY_AUTH_MODE $PATH"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / ".bashrc").read_text().count("RAY_AUTH_MODE") == 1
    assert asked.stdout.split() == ["token", f"{tmp_path}/venv/bin:/usr/bin:/bin"]
