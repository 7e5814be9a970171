from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from refusion.audit.options import FitOptions
from refusion.audit.results import AuditFile, FitKey
from refusion.errors import UserError
from refusion.metrics import METRICS

KEY = FitKey("MIF", "max", "0123456789", "salient", FitOptions(0.1, 8, 3, 0, 2, 24), 4, 2)
SCORES = {name: [float(number), 3.0] for number, name in enumerate(METRICS)}


def add(file: AuditFile, key: FitKey = KEY, loss: float = 0.5) -> None:
    file.add(key, ["007", "left"], [loss, loss + 0.25], SCORES, 1.234)


def test_rows_and_what_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    add(AuditFile(path))
    table = pd.read_csv(path)
    assert list(table)[:3] == ["method", "reward", METRICS[0]]
    assert table.loc[0, ["method", "reward", "Qabf", "seconds"]].tolist() == ["max", 0.625, 5.0, 1.23]
    again = AuditFile(path)
    assert again.has(KEY)
    pairs = again.pairs_of([KEY])
    assert pairs["pair"].tolist() == ["007", "left"]
    assert pairs["reward"].tolist() == [0.5, 0.75]


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, task="IVIF"),
        replace(KEY, method="guided"),
        replace(KEY, digest="0123456788"),
        replace(KEY, reward_name="published"),
        replace(KEY, val_pairs=3),
        *(
            replace(KEY, options=replace(KEY.options, **{name: value}))
            for name, value in (("channel_noise", 0.0), ("width", 16), ("steps", 4), ("seed", 1), ("crop", 32))
        ),
    ],
)
def test_another_fit_is_not_done(tmp_path: Path, other: FitKey) -> None:
    path = tmp_path / "audit.csv"
    add(AuditFile(path))
    file = AuditFile(path)
    assert not file.has(other)
    add(file, other)
    again = AuditFile(path)
    assert again.has(other) and again.has(KEY)
    assert len(again.rows) == 2 and len(again.pairs_of([other])) == 2 and len(again.pairs) == 4


def test_an_interruption_between_the_two_files_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    add(AuditFile(path), loss=9.0)
    path.unlink()
    file = AuditFile(path)
    assert not file.has(KEY)
    add(file)
    assert AuditFile(path).pairs["reward"].tolist() == [0.5, 0.75]


@pytest.mark.parametrize("text", ["name,EN\nx,1\n", "", "a,b\n1,2,3\n"])
def test_another_file_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"--out .*scores\.csv"):
        AuditFile(path)
    assert path.read_text() == text
