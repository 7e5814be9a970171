"""Rows of earlier trainings that are taken as they are; nothing here is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from refusion.ablations import runner
from refusion.ablations.cell import Cell
from refusion.ablations.runner import Plan, run_ablations
from refusion.ablations.variants import find_variants
from refusion.config.layers import check
from refusion.errors import UserError
from refusion.images.pair_check import find_and_check
from refusion.metrics import METRICS


def row(variant: str, name: str, meta: int) -> dict[str, Any]:
    keys = {"task": "MFIF", "variant": variant, "equal": "steps", "seed": 0, "name": name}
    return {**keys, **dict.fromkeys(METRICS, 0.5), "seconds": 1.0, "meta_iterations": meta, "fusion_steps": 4}


@pytest.fixture
def plan(tiny: dict[str, Any], data: Path, tmp_path: Path) -> Plan:
    """`learned` and `half` with one seed, both known."""
    names = [pair.name for pair in find_and_check(data, "MFIF", "val").pairs]
    file = tmp_path / "known.csv"
    rows = [row(variant, name, meta) for variant, meta in (("learned", 4), ("half", 0)) for name in names]
    pd.DataFrame(rows).to_csv(file, index=False)
    base = check([tiny, {"data": str(data), "tasks": ["MFIF"]}])
    return Plan(base, find_variants(["half"]), [0], tmp_path / "out", known=[file])


def test_what_is_known_is_not_trained_and_stands_in_the_table(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[str] = []

    def run(cells: list[Cell], _plan: Plan) -> Iterator[tuple[Cell, None]]:
        trained.extend(cell.name for cell in cells)
        yield from ()

    monkeypatch.setattr(runner, "_run", run)
    assert run_ablations(replace(plan, seeds=[0, 1]), Console()) == 0
    assert trained == ["MFIF learned, seed 1", "MFIF half, seed 1"]
    assert "2 of 4 trainings are known" in capsys.readouterr().out
    known = pd.read_csv(plan.known[0], dtype={"name": str})
    assert pd.read_csv(plan.out / "ablations.csv", dtype={"name": str}).equals(known)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("name", "another", "MFIF learned, seed 0 was scored on other pairs than the 2 of val"),
        ("fusion_steps", 8, "MFIF learned, seed 0 has 4 meta-iterations and 8 fusion updates, other than"),
        ("meta_iterations", 2, "MFIF learned, seed 0 has 2 meta-iterations and 4 fusion updates, other than"),
    ],
)
def test_rows_of_another_ablation_are_refused(plan: Plan, column: str, value: Any, sentence: str) -> None:
    pd.read_csv(plan.known[0]).assign(**{column: value}).to_csv(plan.known[0], index=False)
    with pytest.raises(UserError, match=f"--known: {sentence}"):
        run_ablations(plan, Console())


def test_a_file_that_is_no_table_of_ablations_is_named(plan: Plan) -> None:
    plan.known[0].write_text("name,EN\n1,2\n")
    with pytest.raises(UserError, match=r"--known .*known\.csv: has no column task, variant"):
        run_ablations(plan, Console())
    with pytest.raises(UserError, match=r"--known .*gone\.csv: cannot be read"):
        run_ablations(replace(plan, known=[plan.known[0].with_name("gone.csv")]), Console())
