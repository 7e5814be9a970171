"""One Ray for each file of faults, with room for two workers on one node or on two, a home, and small pairs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from broken.jobs import Place
from broken.parts import FAULTS
from clusters.nodes import TwoNodes, two_nodes
from one_ray import start_ray
from written_pairs import write_pairs

from refusion.runtime.ray_internals import WORKER_POLL_SECONDS

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@contextmanager
def a_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, pytest.MonkeyPatch]]:
    """A home, five pairs to train on and two to validate, and the variables of jobs there."""
    home, data = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("pairs")
    faults = tmp_path_factory.mktemp("faults")
    write_pairs(data, "IVIF", "train", 5)
    write_pairs(data, "IVIF", "val", 2, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFUSION_HOME", str(home))
        patch.setenv(FAULTS, str(faults))
        # Workers import the losses that fail.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        # An epoch is on Ray's record soon after it was saved.
        patch.setenv(WORKER_POLL_SECONDS, "0.3")
        # Workers of a Ray that another file started look for faults, and keep their pairs, where that file had them.
        ray.shutdown()
        yield Place(home, data, faults), patch


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A home with pairs, and Ray with room for two workers."""
    with a_home(tmp_path_factory) as (found, _):
        start_ray(2)
        yield found


@pytest.fixture(scope="module")
def cluster_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, TwoNodes]]:
    """A home with pairs, and a cluster of two nodes with room for a worker each."""
    with a_home(tmp_path_factory) as (found, patch), two_nodes() as nodes:
        patch.setenv("RAY_ADDRESS", nodes.of.address)
        yield found, nodes


@pytest.fixture(scope="module")
def roomy_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, TwoNodes]]:
    """The same with two CPUs on each node: a trial's driver takes one besides its workers."""
    with a_home(tmp_path_factory) as (found, patch), two_nodes(cpus=2) as nodes:
        patch.setenv("RAY_ADDRESS", nodes.of.address)
        yield found, nodes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB of its own; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
