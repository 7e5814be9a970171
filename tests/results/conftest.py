"""Score tables as jobs/evaluate.py and analysis/ablations.py write them, with differences that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from refusion.evaluation.csv_file import csv_text, score_table
from refusion.evaluation.results import MethodScores
from refusion.metrics import METRICS

NAMES = [f"{number:05d}" for number in range(12)]
# Beyond the average's scores.
BONUS = {"ours": 0.3, "published": 0.2, "average": 0.0, "max": 0.1, "guided": 0.15}


def frame(seed: int, bonus: float) -> pd.DataFrame:
    """Scores that differ between two methods by their bonus and a little noise."""
    common = np.random.default_rng(0).uniform(0.4, 0.6, (len(NAMES), len(METRICS)))
    noise = np.random.default_rng(seed).normal(0, 0.005, common.shape)
    return pd.DataFrame(common + noise + bonus, index=NAMES, columns=list(METRICS))


@pytest.fixture
def methods() -> list[MethodScores]:
    return [MethodScores(name, "authors", frame(place, bonus)) for place, (name, bonus) in enumerate(BONUS.items())]


@pytest.fixture
def folder(tmp_path: Path, methods: list[MethodScores]) -> Path:
    """RESULTS with the scores and an ablation of MFIF."""
    results = tmp_path / "measured"
    (results / "scores").mkdir(parents=True)
    (results / "scores" / "MFIF.csv").write_text(csv_text(score_table(methods)))
    parts = []
    for place, (variant, equal, bonus) in enumerate(
        [("learned", "steps", 0.1), ("half", "steps", 0.0), ("half", "time", 0.05), ("only w", "steps", 0.1)]
    ):
        for seed in (0, 1):
            rows = frame(10 * place + seed, bonus).rename_axis("name").reset_index()
            parts.append(rows.assign(task="MFIF", variant=variant, equal=equal, seed=seed, seconds=10.0 + seed))
    pd.concat(parts).to_csv(results / "ablations.csv", index=False)
    return results
