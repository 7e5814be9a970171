from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from refusion.cli.sweep import read_requests
from refusion.images.pairs import Pair
from refusion.search.manifest import SweepManifest, open_manifest
from refusion.search.notes import notes
from refusion.search.results.held_out import TaskVal


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path))


def manifest(tmp_path: Path, *arguments: str) -> SweepManifest:
    content = {
        "base": {"schedule": {"epochs": 4}, "images": {"crop": {0: 32, 2: 48}}},
        "space": {"objective.alpha": [0.5, 2.0], "schedule.inner_steps": {"low": 1, "high": 3}},
    }
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    (request,) = read_requests(["--config", str(file), "--task", "MIF", *arguments])
    return open_manifest(request)


def val(seen: int, held_out: int) -> dict[str, TaskVal]:
    pairs = [Pair(str(number), "a", "b", 32, 32, "") for number in range(seen + held_out)]
    return {"MIF": TaskVal(pairs, pairs[:seen], pairs[seen:])}


def test_trial_0_and_what_is_fixed_are_told(tmp_path: Path) -> None:
    said = notes(manifest(tmp_path, "--objective.alpha", "1.5", "--seed", "3"), val(6, 6))
    assert said == [
        "trial 0 has the base settings: the defaults with seed 3, schedule.epochs 4, objective.alpha 1.5, "
        "images.crop {0: 32, 2: 48}; the other trials lay their values over them",
        "fixed by the command line, not searched: objective.alpha 1.5",
    ]


def test_what_was_fixed_stays_so_in_the_file_of_the_sweep(tmp_path: Path) -> None:
    found = manifest(tmp_path, "--objective.alpha", "1.5", "--run-name", "first")
    found.save({})
    content = yaml.safe_load((found.folder / "sweep.yaml").read_text())
    assert content["fixed"] == {"objective.alpha": 1.5}
    assert list(content["space"]) == ["schedule.inner_steps"]
    (request,) = read_requests(["--resume", "first"])
    resumed = open_manifest(request)
    assert (resumed.fixed, resumed.notes) == (found.fixed, [])


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["--grace", "4"], "note: --grace 4 leaves asha nothing to stop in trials of 4 epochs: lower it"),
        (["--schedule.epochs", "1"], "note: --grace 1 leaves asha nothing to stop in trials of 1 epoch: lower it"),
        (["--scheduler", "median", "--grace", "4"], "note: --grace 4 leaves median nothing to stop"),
        (
            ["--schedule.epochs", "2"],
            "note: trials of 2 epochs end before the last value of: images.crop {0: 32, 2: 48}",
        ),
        (["--preset", "quick"], "--preset quick: over it go the sweep file's base ("),
    ],
)
def test_what_cannot_do_what_one_expects_is_told(tmp_path: Path, arguments: list[str], start: str) -> None:
    (line,) = [line for line in notes(manifest(tmp_path, *arguments), val(6, 6)) if line.startswith(start)]
    assert line


def test_a_grace_of_a_scheduler_that_stops_nothing_is_not_told(tmp_path: Path) -> None:
    assert len(notes(manifest(tmp_path, "--grace", "4", "--scheduler", "none"), val(6, 6))) == 1


@pytest.mark.parametrize(
    ("seen", "held_out", "lines"),
    [
        (
            1,
            1,
            [
                "note: MIF: trials are measured on one val pair; what is best on it may be chance",
                "note: 1 held-out val pair: too few to show that a trial is better than trial 0, which takes 6",
            ],
        ),
        (
            2,
            5,
            ["note: 5 held-out val pairs: too few to show that a trial is better than trial 0, which takes 6"],
        ),
        (
            2,
            0,
            [
                "note: no val pair is held out (too few val pairs): the best trial is not compared with trial 0 in the "
                "end"
            ],
        ),
    ],
)
def test_few_val_pairs_are_told(tmp_path: Path, seen: int, held_out: int, lines: list[str]) -> None:
    assert notes(manifest(tmp_path), val(seen, held_out))[1:] == lines
