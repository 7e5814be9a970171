"""A job that is submitted to a cluster with the checkout as its working directory, as docs/clusters.md has it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters.head import Head, environment, ray_head
from data_sets.scenes import put_scenes

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef" * 4
TINY = {
    "tasks": "IVIF",
    "threads": "1",
    "schedule.epochs": "1",
    "schedule.meta_iterations": "1",
    "schedule.fusion_steps": "2",
    "images.crop": "32",
    "images.batch": "2",
    "network.blocks": "1",
    "validation.images": "1",
    "validation.pictures": "0",
}
# Bytes; Ray refuses to pack a folder of 500 MB.
TOO_MUCH = 650 << 20

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def head(builtin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Head, dict[str, str]]]:
    """A head that wants a token, and the environment of one who has it."""
    place = tmp_path_factory.mktemp("head")
    own = environment(place, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN, RAY_worker_niceness="0")
    put_scenes(builtin, Path(own["REFUSION_HOME"]))
    with ray_head(place, 2, own) as started:
        yield started, own


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout beside pictures of the user's own, which git and `.rayignore` leave out."""
    folder = tmp_path / "checkout"
    for name in ("platform", "jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".rayignore", folder)
    (folder / "data").mkdir()
    with (folder / "data" / "pictures.bin").open("wb") as file:
        file.truncate(TOO_MUCH)
    return folder


def submit(head: tuple[Head, dict[str, str]], checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    started, own = head
    command = ["ray", "job", "submit", "--working-dir", ".", "--", "python", "jobs/train_all_tasks.py", *words]
    own = own | {"RAY_ADDRESS": started.jobs}
    return subprocess.run(command, cwd=checkout, env=own, capture_output=True, text=True, check=False, timeout=600)


def test_the_checkout_travels_trains_and_says_how_to_go_on(head: tuple[Head, dict[str, str]], checkout: Path) -> None:
    given = [word for name, value in TINY.items() for word in (f"--{name}", value)]
    done = submit(head, checkout, *given, "--no-compile", "--run-name", "sent")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "succeeded" in said and "Traceback" not in said
    runs = Path(head[1]["REFUSION_HOME"]) / "runs"
    assert (runs / "sent" / "IVIF" / "final" / "fusion.safetensors").is_file()

    longer = submit(head, checkout, "--resume", "sent", "--schedule.epochs", "2")
    assert longer.returncode == 0, longer.stdout + longer.stderr
    assert re.search("IVIF: the best is .* of 2: Qabf", longer.stdout)
