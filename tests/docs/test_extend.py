"""The examples of docs/extend.md and docs/notebook.md are run as they stand: files are written, commands are given."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from data_sets.scenes import put_scenes

from refusion.cli.sweep import read_requests
from refusion.cli.train import read_request
from refusion.config.layers import check
from refusion.images.reading import read_image
from refusion.images.writing import write_image
from refusion.meta.objective import check_objective
from refusion.search.manifest import open_manifest
from refusion.search.trials.training import TrialPlan

ROOT = Path(__file__).resolve().parents[2]
# A directive stands in a comment, which the site does not show, before the block that it is about.
_BLOCK = re.compile(r"^<!-- (file|after|instead|run|check)(?:: (.+?))? -->\n```(\w+)[^\n]*\n(.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """One example: what is done with it, where, and its text."""

    directive: str
    place: str
    language: str
    text: str


def blocks_of(page: str, heading: str | None = None) -> list[Block]:
    """Returns a page's examples, or those below one of its headings of the second level."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    if heading is not None:
        (text,) = [part for part in re.split(r"^## ", text, flags=re.M) if part.startswith(f"{heading}\n")]
    return [Block(*found) for found in _BLOCK.findall(text)]


class Place:
    """A copy of the checkout with two pictures, where examples are carried out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("platform", "jobs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        random = np.random.default_rng(0)
        for side in "ab":
            (folder / "sources" / side).mkdir(parents=True)
            picture = random.integers(0, 256, (48, 56), dtype=np.uint8)
            for file in (folder / f"{side}.png", folder / "sources" / side / "one.png"):
                write_image(file, picture)

    def carry_out(self, blocks: list[Block]) -> None:
        script = ""
        for block in blocks:
            if block.directive == "file":
                (self.folder / block.place).write_text(block.text)
            elif block.directive in ("after", "instead"):
                name, line = block.place.split(" | ", 1)
                content = (self.folder / name).read_text()
                assert content.count(f"{line}\n") == 1, line
                before = f"{line}\n" if block.directive == "after" else ""
                (self.folder / name).write_text(content.replace(f"{line}\n", before + block.text))
            elif block.language == "python":
                script += block.text
            else:
                self.run(["bash", "-euc", block.text])
        if script:
            # One session, as in a notebook.
            self.run([sys.executable, "-c", script])

    def run(self, command: list[str]) -> None:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "platform"),
            "REFUSION_HOME": str(self.folder / "home"),
        }
        for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "REFUSION_IMPORT_FOLDERS"):
            environment.pop(name, None)
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def place(builtin: Path, tmp_path: Path) -> Place:
    put_scenes(builtin, tmp_path / "home")
    return Place(tmp_path)


def test_no_example_stands_without_a_directive() -> None:
    for page in ("extend.md", "notebook.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert len(re.findall(r"^```\w", text, flags=re.M)) == len(blocks_of(page)) > 0


@pytest.mark.ray
def test_a_network_is_trained_fused_and_scored_as_the_page_says(place: Place) -> None:
    place.carry_out(blocks_of("extend.md", "A network"))
    assert read_image(place.folder / "fused" / "a.png").shape == (48, 56)
    assert pd.read_csv(place.folder / "scores.csv").filter(like="Qabf").notna().all(axis=None)


def test_a_search_space_is_read_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, command = blocks_of("extend.md", "A search space")
    assert command.directive == "check"
    (tmp_path / file.place).write_text(file.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / "home"))
    (request,) = read_requests(shlex.split(command.text)[2:])
    manifest = open_manifest(request)
    assert manifest.base.network.kind == "my_network:Residual"
    names = {parameter.name for parameter in manifest.space.parameters}
    assert {"network.options.width", "schedule.rate.kind"} <= names
    # Every value is one that the class of the page takes.
    values = TrialPlan(manifest.base.model_dump(mode="json"), manifest.space.plain(), {}, "", 1).settings(
        {"network.options.width": 4, "schedule.rate.kind": "constant", "schedule.rate.value": 1e-3}
    )
    assert values.network.options == {"width": 4}


def test_a_loss_and_a_reward_are_checked_as_before_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, command = blocks_of("extend.md", "A loss and a reward")
    assert command.directive == "check"
    (tmp_path / file.place).write_text(file.text)
    monkeypatch.setenv("REFUSION_IMPORT_FOLDERS", str(tmp_path))
    monkeypatch.chdir(ROOT)
    settings = check(read_request(shlex.split(command.text.replace("\\\n", " "))[2:]).changes)
    assert settings.objective.kind == "my_losses:robust"
    check_objective(settings)


def test_a_rate_schedule_is_a_kind_of_rate(place: Place) -> None:
    place.carry_out(blocks_of("extend.md", "A rate schedule"))


@pytest.mark.slow
def test_a_metric_is_known_to_the_commands(place: Place) -> None:
    place.carry_out(blocks_of("extend.md", "A metric"))
    assert pd.read_csv(place.folder / "ranges.csv")["RG"].between(100, 255).all()


def test_a_scheduler_stops_who_is_behind(place: Place) -> None:
    place.carry_out(blocks_of("extend.md", "A scheduler of a sweep"))


@pytest.mark.ray
def test_the_notebook_trains_fuses_and_scores(place: Place) -> None:
    place.carry_out(blocks_of("notebook.md"))
    assert read_image(place.folder / "fused.png").shape == (48, 56)
