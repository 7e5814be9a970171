from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from refusion.config.settings import ImagesSettings, Settings
from refusion.errors import UserError
from refusion.runtime import cluster, ray_internals
from refusion.runtime.cluster import Cluster, Node, addable, connect

LAPTOP = Cluster((Node(8, 0),))
GPUS = Cluster((Node(4, 0),), (Node(48, 4), Node(48, 4)))


def wanted(workers: int, gpu: bool = False) -> Settings:
    return Settings(workers=workers, gpu=gpu, images=ImagesSettings(batch=workers))


@pytest.mark.parametrize(
    ("node", "threads", "gpu", "workers"),
    [
        (Node(8, 0), 2, False, 4),
        (Node(8, 0), 3, False, 2),
        (Node(8, 0), 9, False, 0),
        (Node(8, 2), 1, True, 2),
        (Node(8, 4), 4, True, 2),
        (Node(8, 0), 1, True, 0),
    ],
)
def test_a_machine_has_room_for_workers_by_cpus_and_gpus(node: Node, threads: int, gpu: bool, workers: int) -> None:
    assert node.workers(threads, gpu) == workers


def test_machines_that_could_be_started_count() -> None:
    assert GPUS.nodes == (Node(4, 0), Node(48, 4), Node(48, 4))


@pytest.mark.parametrize(("runs", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (100, 1), (0, 8)])
def test_cpus_are_shared_out_among_the_runs(runs: int, threads: int) -> None:
    assert LAPTOP.default_threads(runs) == threads


def test_a_worker_gets_no_more_threads_than_a_machine_has_or_than_help_it() -> None:
    assert Cluster((Node(4, 0),) * 8).default_threads(1) == 4
    assert Cluster((Node(192, 0),)).default_threads(1) == 16
    assert Cluster(()).default_threads(4) == 1


@pytest.mark.parametrize(("workers", "threads", "runs"), [(1, 1, 8), (1, 2, 4), (2, 2, 2), (3, 1, 2), (8, 1, 1)])
def test_as_many_runs_as_fit_go_side_by_side(workers: int, threads: int, runs: int) -> None:
    assert LAPTOP.concurrent_runs(wanted(workers), threads) == runs


@pytest.mark.parametrize(("workers", "runs"), [("1..4", 2), ("2..8", 1), ("8..16", 1)])
def test_of_a_range_there_is_room_for_all_or_for_one_run_with_fewer(workers: str, runs: int) -> None:
    elastic = Settings(workers=workers, images=ImagesSettings(batch=16))
    assert LAPTOP.concurrent_runs(elastic, 1) == runs
    with pytest.raises(UserError, match=rf"--workers {workers}: a task needs {elastic.worker_counts[0]} × 16 CPUs"):
        LAPTOP.concurrent_runs(elastic, 16)


def test_workers_are_not_split_over_machines() -> None:
    """Two machines of 3 CPUs have room for two workers of 2 threads, not for three."""
    assert Cluster((Node(3, 0), Node(3, 0))).concurrent_runs(wanted(1), 2) == 2


def test_gpu_runs_count_gpus_on_machines_that_could_be_started() -> None:
    assert GPUS.concurrent_runs(wanted(4, gpu=True), threads=8) == 2
    assert GPUS.concurrent_runs(wanted(8, gpu=True), threads=8) == 1


def test_what_never_fits_is_refused_with_what_there_is() -> None:
    with pytest.raises(UserError) as caught:
        LAPTOP.concurrent_runs(wanted(3), 4)
    assert str(caught.value) == (
        "--workers 3: a task needs 3 × 4 CPUs, but this cluster (8 CPUs, 0 GPUs) has room for 2 such workers; "
        "ask for fewer --workers or --threads, or add nodes"
    )
    with pytest.raises(UserError, match=r"needs 16 × 1 CPU and 1 GPU, but this cluster \(100 CPUs, 8 GPUs\)"):
        GPUS.concurrent_runs(wanted(16, gpu=True), 1)


def test_a_gpu_is_not_asked_for_where_there_is_none() -> None:
    with pytest.raises(UserError, match="--gpu: there is no GPU in this cluster"):
        LAPTOP.concurrent_runs(wanted(1, gpu=True), 1)


def written(path: Path, content: object) -> Path:
    file = path / "ray_bootstrap_config.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_no_file_means_no_machines_to_start(tmp_path: Path) -> None:
    assert addable(tmp_path / "gone.yaml") == ()
    assert addable(written(tmp_path, None)) == ()


def test_workers_count_as_often_as_they_may_be_started_and_the_head_never(tmp_path: Path) -> None:
    types = {
        "head": {"resources": {"CPU": 8}, "max_workers": 3},
        "gpu": {"resources": {"CPU": 48, "GPU": 4}, "max_workers": 2},
        "cpu": {"resources": {"CPU": 16}, "max_workers": 1},
    }
    file = written(tmp_path, {"head_node_type": "head", "max_workers": 10, "available_node_types": types})
    assert sorted(addable(file), key=lambda node: node.cpus) == [Node(16, 0), Node(48, 4), Node(48, 4)]


def test_the_clusters_own_limit_holds(tmp_path: Path) -> None:
    types = {"gpu": {"resources": {"CPU": 48, "GPU": 4}, "max_workers": 9}}
    file = written(tmp_path, {"head_node_type": "head", "max_workers": 2, "available_node_types": types})
    assert addable(file) == (Node(48, 4),) * 2


def test_unstated_resources_are_none(tmp_path: Path) -> None:
    file = written(tmp_path, {"max_workers": 1, "available_node_types": {"x": {"max_workers": 1}}})
    assert addable(file) == (Node(0, 0),)


@pytest.mark.parametrize(("nodes", "seconds"), [(LAPTOP, "0.5"), (GPUS, None)])
def test_ray_is_started_with_bounded_memory_and_on_one_machine_its_reports_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch, nodes: Cluster, seconds: str | None
) -> None:
    given = {"RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled", "RAY_task_events_max_num_task_in_gcs": "7"}
    started: list[dict[str, str]] = []
    monkeypatch.setattr(os, "environ", given)
    monkeypatch.setattr(cluster, "_init", lambda *_, **__: started.append(dict(os.environ)))
    monkeypatch.setattr(cluster, "look", lambda: nodes)
    assert connect() == nodes
    # What the user has set stands.
    kept = {"RAY_enable_metrics_collection": "0", "RAY_task_events_max_num_task_in_gcs": "7"}
    assert {name: started[0][name] for name in ray_internals.BOUNDED_MEMORY} == kept
    assert given.get(ray_internals.WORKER_POLL_SECONDS) == seconds


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "http://127.0.0.1:8265",
            "is the address of a cluster's job server: submit the job to it, by "
            "`ray job submit -- python jobs/train_all_tasks.py --data '/a b'`, or unset RAY_ADDRESS",
        ),
        ("localhost", "is no address of a cluster; write HOST:PORT, such as localhost:6379"),
        ("6379", "is no address of a cluster"),
        ("127.0.0.1:1", "nothing answers there"),
    ],
)
def test_an_address_of_something_else_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr("sys.argv", ["jobs/train_all_tasks.py", "--data", "/a b"])
    with pytest.raises(UserError) as refused:
        connect()
    assert str(refused.value).startswith(f"RAY_ADDRESS {address}: {said}")
    monkeypatch.setattr("sys.argv", ["refusion train", "--gpu"])
    if "://" in address:
        with pytest.raises(UserError, match="`ray job submit -- refusion train --gpu`"):
            connect()


def test_a_folder_whose_path_is_too_long_for_ray_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 80)))
    with pytest.raises(UserError, match=r"^Ray cannot be started on this machine .*; set RAY_TMPDIR to a folder with"):
        connect()
