"""Fixtures that the jobs' tests share: one Ray, and a home for each file, which has the built-in scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from data_sets.scenes import put_scenes
from sweep_jobs import BASE, SPACE

# Two tasks of two workers have to wait for one another, and a trial's driver and its two workers just fit.
CPUS = 3


@pytest.fixture(scope="module")
def home(builtin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own for runs, sweeps and MLflow, and Ray with CPUS CPUs."""
    # Here, since not all of this folder's tests need Ray.
    from one_ray import start_ray

    folder = tmp_path_factory.mktemp("home")
    put_scenes(builtin, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFUSION_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        start_ray(CPUS)
        yield folder


@pytest.fixture(scope="session")
def sweep_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sweep") / "space.yaml"
    file.write_text(yaml.safe_dump({"base": BASE, "space": SPACE, "sweep": {"task": ["IVIF"], "max_concurrent": 2}}))
    return file
