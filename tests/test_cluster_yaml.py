"""cluster.yaml against Ray's own checks, without AWS, and the facts that our jobs rely on."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.aws.config import DEFAULT_AMI
from ray.autoscaler._private.util import prepare_config, validate_config

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
        assert 0 < kind["max_workers"] <= written["max_workers"]
        # They write checkpoints to S3 themselves.
        assert kind["node_config"]["IamInstanceProfile"] == {"Name": "ray-autoscaler-v1"}


def test_a_job_on_the_head_counts_on_the_workers_that_could_be_started(prepared: Any, tmp_path: Path) -> None:
    on_head = tmp_path / "ray_bootstrap_config.yaml"
    on_head.write_text(yaml.safe_dump(prepared))
    nodes = addable(on_head)
    assert nodes == (Node(48, 4),) * 4
    cluster = Cluster((Node(0, 0),), nodes)
    eight = Settings(gpu=True, workers=8, images=ImagesSettings(batch=8))
    assert cluster.concurrent_runs(eight, threads=8) == 2


def test_no_image_is_rays_old_default(prepared: Any) -> None:
    for kind in prepared["available_node_types"].values():
        image = kind["node_config"]["ImageId"]
        assert image.startswith("resolve:ssm:/aws/service/deeplearning/")
        assert image not in DEFAULT_AMI.values()


def test_every_node_has_the_token_and_asks_for_it(prepared: Any) -> None:
    assert prepared["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for command in start_commands(prepared):
        before, _, _ = command.partition("ray start")
        assert "export RAY_AUTH_MODE=token;" in before
        assert "ulimit -n 65536;" in before


def test_the_dashboard_is_not_reachable_from_outside(prepared: Any) -> None:
    head, _ = start_commands(prepared)
    assert "--dashboard-host=127.0.0.1" in head
    # Without a rule of ours, Ray's security group opens SSH alone.
    assert "security_group" not in prepared["provider"]


def test_all_is_installed_with_the_constraints_file(prepared: Any) -> None:
    for place in ("head_setup_commands", "worker_setup_commands"):
        installing = [command for command in prepared[place] if "pip install" in command]
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
