from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from refusion.results.page import Sources

from .conftest import frame


@pytest.fixture
def sources(folder: Path) -> Sources:
    return Sources(folder, "DATA", "WEIGHTS", "results", "ours", "published")


def trained(bonus: float, variant: str = "learned", prefix: str = "") -> pd.DataFrame:
    rows = frame(77, bonus).rename(index=lambda name: prefix + name).rename_axis("name").reset_index()
    return rows.assign(task="MFIF", variant=variant, equal="steps", seed=0, seconds=1.0)


def test_parts_without_files_are_left(sources: Sources) -> None:
    assert [sources.part(name) for name in ("adapted", "one for all", "unseen", "folds", "equal time")] == [None] * 5


def test_adapted_and_one_for_all_are_compared_with_ours(sources: Sources, folder: Path) -> None:
    (folder / "adapted").mkdir()
    scores = frame(0, 0.4).rename_axis("name").reset_index().assign(convention="authors")
    as_they_come = frame(0, 0.3).rename_axis("name").reset_index().assign(convention="authors", method="ours")
    both = pd.concat([as_they_come, scores.assign(method="ours-adapted")])
    both.to_csv(folder / "adapted" / "MFIF.csv", index=False)
    # Ours has a bonus of 0.3.
    adapted = sources.part("adapted")
    assert adapted is not None and "+0.1000 \\[+0.1000, +0.1000\\]" in adapted
    trained(0.1, prefix="mfif_").to_csv(folder / "one_for_all.csv", index=False)
    together = sources.part("one for all")
    assert together is not None and together.count("<ins>") == 4
    assert "| MFIF   |      12 |" in " ".join(together.splitlines())


def test_unseen_data_sets_are_compared_with_the_same_seeds(sources: Sources, folder: Path) -> None:
    trained(0.1).to_csv(folder / "unseen.csv", index=False)
    part = sources.part("unseen")
    # `learned` of the ablations has a bonus of 0.1 too.
    assert part is not None and "seeds 0." in part and "<ins>" not in part and "**" not in part.partition("\n")[2]


def test_equal_time_stands_beside_equal_steps(sources: Sources, folder: Path) -> None:
    longer = trained(0.05, "saliency").assign(equal="time")
    pd.concat([trained(0.1), trained(0.0, "saliency"), longer]).to_csv(folder / "equal_time.csv", index=False)
    part = sources.part("equal time")
    assert part is not None
    assert "| saliency " in part
    assert "| saliency, equal time |" in part


def test_folds_say_if_learning_is_ahead(sources: Sources, folder: Path) -> None:
    pd.concat([trained(0.1), trained(0.0, "half")]).to_csv(folder / "folds.csv", index=False)
    part = sources.part("folds")
    assert part is not None and "**yes**" in part
