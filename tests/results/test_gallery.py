from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from written_pairs import HEIGHT, WIDTH, write_pairs

from refusion.cli.gallery import gallery
from refusion.errors import UserError
from refusion.evaluation.csv_file import csv_text, score_table
from refusion.evaluation.results import MethodScores
from refusion.fuse.insets import Window
from refusion.images.writing import write_image
from refusion.metrics import METRICS
from refusion.results.gallery import gallery_row, png_bytes


def test_the_row_has_a_magnified_inset_in_each_panel() -> None:
    picture = np.zeros((60, 60), np.uint8)
    picture[40:50, 40:50] = 255
    row = gallery_row({"one": picture, "two": picture}, Window(40, 40, 10), height=120)
    assert row.shape == (144, 246, 3)
    panel = row[24:, :120]
    # White fills the inset in the corner opposite to the window, which is black in the picture.
    assert panel[4:50, 4:50].min() == 255
    assert panel[60:70, 10:20].max() == 0
    assert np.array_equal(row[24:, 126:], panel)


def test_a_row_is_made_smaller_until_its_file_is_small_enough() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    png = png_bytes({"one": noise, "two": noise}, Window(0, 0, 40), most=60_000)
    assert len(png) <= 60_000
    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).shape[0] > 60


@pytest.fixture
def evaluated(tmp_path: Path) -> list[str]:
    """Options of the command; on scene_2 the methods differ most."""
    write_pairs(tmp_path / "data", "IVIF", "val", 3)
    qualities = {"ours": [0.5, 0.5, 0.9], "published": [0.5, 0.6, 0.5], "max": [0.4, 0.5, 0.5], "average": [0.1] * 3}
    methods = []
    for level, (name, values) in enumerate(qualities.items()):
        frame = pd.DataFrame({metric: values for metric in METRICS}, index=[f"scene_{n}" for n in range(3)])
        methods.append(MethodScores(name, "authors", frame))
        for scene in frame.index:
            file = tmp_path / "fused" / name / f"{scene}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_image(file, np.full((HEIGHT, WIDTH), 60 * level, np.uint8))
    (tmp_path / "scores.csv").write_text(csv_text(score_table(methods)))
    options = ["--task", "IVIF", "--data", str(tmp_path / "data"), "--scores", str(tmp_path / "scores.csv")]
    return [*options, "--pictures", str(tmp_path / "fused"), "--out", str(tmp_path / "gallery" / "IVIF.png")]


def test_sources_ours_published_and_the_best_baseline_are_shown(
    evaluated: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gallery(evaluated, "") == 0
    assert "IVIF, pair scene_2: " in capsys.readouterr().out
    picture = cv2.imread(str(tmp_path / "gallery" / "IVIF.png"))
    assert picture is not None
    width = round(WIDTH * 288 / HEIGHT)
    assert picture.shape == (288 + 24, 5 * width + 4 * 6, 3)
    # ours 0, published 60, max 120: each method's own picture in its place.
    centres = [picture[24 + 144, place * (width + 6) + width // 2, 0] for place in (2, 3, 4)]
    assert centres == [0, 60, 120]


def test_a_picture_that_was_not_saved_is_named(evaluated: list[str], tmp_path: Path) -> None:
    (tmp_path / "fused" / "ours" / "scene_2.png").unlink()
    with pytest.raises(UserError, match=r"--pictures: there is no .*ours/scene_2\.png; make it with jobs/evaluate"):
        gallery(evaluated, "")
    with pytest.raises(UserError, match="--scores: holds no scores of mine"):
        gallery([*evaluated, "--methods", "mine", "published"], "")
