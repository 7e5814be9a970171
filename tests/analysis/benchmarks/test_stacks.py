from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import stacks

from refusion.fuse import load_pretrained
from refusion.images.stacks.builtin import builtin_stacks

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_has_the_tables_of_the_file() -> None:
    page = (ROOT / "docs" / "stacks.md").read_text(encoding="utf-8")
    assert stacks.with_tables(page, pd.read_csv(ROOT / "analysis" / "results" / "stacks.csv")) == page


@pytest.mark.parametrize("task", ["MEIF", "MFIF"])
def test_the_chosen_order_is_the_best_against_the_truth(task: str) -> None:
    """To within 0.01: two trainings of the multi-focus module differ by 0.016 along one order (docs/stacks.md)."""
    table = pd.read_csv(ROOT / "analysis" / "results" / "stacks.csv")
    ordered = table["method"].str.startswith("module")
    means = table[(table["task"] == task) & ordered].groupby("method")["truth"].mean()
    assert means[means.index.str.endswith(", chosen")].item() > means.max() - 0.01


@pytest.mark.slow
def test_a_row_is_what_the_command_computes() -> None:
    table = pd.read_csv(ROOT / "analysis" / "results" / "stacks.csv").set_index(["task", "pictures", "scene", "method"])
    stack = next(builtin_stacks("MEIF", 3))
    for method, fused in stacks.results("MEIF", stack, load_pretrained("MEIF")):
        row = table.loc[("MEIF", 3, stack.name, method)]
        for name, score in stacks.scores(stack, fused).items():
            assert score == pytest.approx(row[name], abs=2e-3)
