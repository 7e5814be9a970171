"""Whole ablations of seconds; their trainings run in this process but for the last test's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from rich.console import Console

from refusion.ablations import runner, training
from refusion.ablations.cell import Cell
from refusion.ablations.runner import Plan, run_ablations
from refusion.ablations.training import train_cell
from refusion.ablations.variants import find_variants
from refusion.config.layers import check
from refusion.errors import TrainingDivergedError, UserError
from refusion.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trains in this process, and lists the cells that were."""
    names: list[str] = []

    def run(cells: list[Cell], plan: Plan) -> Iterator[tuple[Cell, None]]:
        for cell in cells:
            train_cell(cell, plan.threads)
            names.append(cell.name)
            yield cell, None

    monkeypatch.setattr(runner, "_run", run)
    return names


@pytest.fixture
def plan(tiny: dict[str, Any], data: Path, tmp_path: Path) -> Plan:
    base = check([tiny, {"data": str(data), "tasks": ["MFIF"]}])
    return Plan(base, find_variants(["half"]), [0, 1], tmp_path / "out")


def table_of(plan: Plan) -> pd.DataFrame:
    return pd.read_csv(plan.out / "ablations.csv")


def test_a_row_for_each_variant_seed_and_pair_and_nothing_is_trained_again(plan: Plan, trained: list[str]) -> None:
    assert run_ablations(plan, Console()) == 0
    assert len(trained) == 4
    table = table_of(plan)
    keys = [(row.variant, row.seed, row.name) for row in table.itertuples(index=False)]
    assert len(set(keys)) == len(table) == 2 * 2 * 2
    assert table[list(METRICS)].notna().all(axis=None)
    assert set(table["task"]) == {"MFIF"} and set(table["equal"]) == {"steps"}
    steps = table.groupby("variant")[["meta_iterations", "fusion_steps"]].first()
    assert steps.loc["learned"].tolist() == [4, 4]
    assert steps.loc["half"].tolist() == [0, 4]
    first = table.loc[(table["variant"] == "half") & (table["seed"] == 0), "Qabf"].tolist()
    assert (table["seconds"] > 0).all()
    work = json.loads((plan.out / "MFIF" / "half" / "0" / "cost.json").read_text())["work_per_epoch"]
    assert 0 < work < 60
    assert first != table.loc[(table["variant"] == "half") & (table["seed"] == 1), "Qabf"].tolist()

    trained.clear()
    assert run_ablations(replace(plan, seeds=[0, 1, 2], variants=find_variants([])), Console()) == 0
    assert trained == ["MFIF learned, seed 2"]


def test_a_stopped_cell_goes_on_to_the_same_scores(
    plan: Plan, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(plan, variants=find_variants([]), seeds=[3])
    run_ablations(plan, Console())
    stopped = replace(plan, out=tmp_path / "stopped")
    save: Callable[..., None] = training._save

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_save", save_and_stop)
        run_ablations(stopped, Console())
    folder = stopped.out / "MFIF" / "learned" / "3"
    assert (folder / "fusion.safetensors").is_file() and not (folder / "cost.json").exists()
    # As if it had been stopped between the renames.
    folder.rename(folder.with_name(".3-before"))
    run_ablations(stopped, Console())
    assert table_of(stopped).drop(columns="seconds").equals(table_of(plan).drop(columns="seconds"))
    assert [path.name for path in folder.parent.iterdir()] == ["3"]
    yaml.safe_load((folder / "settings.yaml").read_text())


def test_equal_time_gives_the_time_of_learned_to_variants_without_meta_iterations(
    plan: Plan, trained: list[str]
) -> None:
    plan = replace(plan, variants=find_variants(["half", "maxabs"]), seeds=[0])
    run_ablations(plan, Console())
    for variant, seconds in (("learned", 30.0), ("half", 10.0), ("maxabs", 30.0)):
        file = plan.out / "MFIF" / variant / "0" / "cost.json"
        cost = json.loads(file.read_text())
        file.write_text(json.dumps(cost | {"work_per_epoch": seconds}))
    trained.clear()
    run_ablations(replace(plan, equal="time"), Console())
    assert trained == ["MFIF half, equal time, seed 0"]
    table = table_of(plan)
    longer = table[table["equal"] == "time"]
    assert set(longer["variant"]) == {"half"}
    assert set(longer["fusion_steps"]) == {3 * 4}


def test_a_variant_that_changes_nothing_is_left_out(
    plan: Plan, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    base = check([{"network": {"equivariant": False}, "objective": {"weighting": "linear"}}], plan.base)
    names = ["not equivariant", "squared weights", "published", "equivariance alone", "centring alone"]
    plan = replace(plan, base=base, variants=find_variants(names), seeds=[0])
    assert run_ablations(plan, Console()) == 0
    assert trained == [f"MFIF {name}, seed 0" for name in ("learned", "squared weights", "published")]
    said = capsys.readouterr().out
    assert "MFIF not equivariant: is learned with these settings, and left out" in said
    assert "MFIF equivariance alone: is published with these settings, and left out" in said
    assert "MFIF centring alone: is published with these settings, and left out" in said


def test_cells_of_other_settings_are_refused(plan: Plan, trained: list[str]) -> None:
    plan = replace(plan, variants=find_variants([]), seeds=[0])
    run_ablations(plan, Console())
    other = replace(plan, base=check([{"schedule": {"fusion_steps": 3}}], plan.base))
    with pytest.raises(UserError, match=r"--out .*MFIF/learned/0 was begun with another schedule; choose another"):
        run_ablations(other, Console())


def test_one_that_diverges_does_not_stop_the_others(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverge(cell: Cell, threads: int) -> None:
        if cell.variant.name == "learned":
            raise TrainingDivergedError("MFIF: no finite numbers")
        train_cell(cell, threads)

    monkeypatch.setattr(runner, "train_cell", diverge)
    # In this process, as on a GPU, but on the CPU.
    monkeypatch.setattr(runner, "_in_this_process", lambda _: True)
    assert run_ablations(replace(plan, seeds=[0], equal="time"), Console()) == 1
    assert set(table_of(plan)["variant"]) == {"half"}
    assert "MFIF learned, seed 0: MFIF: no finite numbers" in capsys.readouterr().out


@pytest.mark.slow
def test_the_program_trains_in_processes_of_their_own(tiny: dict[str, Any], data: Path, tmp_path: Path) -> None:
    config = tmp_path / "base.yaml"
    config.write_text(yaml.safe_dump(tiny | {"schedule": tiny["schedule"] | {"epochs": 1}}))
    options = ["--task", "mfif", "--data", str(data), "--config", str(config), "--variants", "half", "--seeds", "0"]
    command = [sys.executable, str(ROOT / "analysis" / "ablations.py"), *options, "--processes", "2"]
    environment = {**os.environ, "REFUSION_HOME": str(tmp_path / "home")}
    command += ["--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(pd.read_csv(tmp_path / "out" / "ablations.csv")["variant"]) == {"learned", "half"}
