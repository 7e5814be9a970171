from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from refusion.errors import UserError
from refusion.evaluation.report import report_text
from refusion.evaluation.request import FORMATS
from refusion.evaluation.results import MethodScores
from refusion.metrics import CONVENTIONS
from refusion.statistics import mean_interval

BASE = np.random.default_rng(0).uniform(0.4, 0.6, 16)


def scores(name: str, convention: str = "authors", **columns: Any) -> MethodScores:
    frame = pd.DataFrame({metric: np.asarray(values, float) for metric, values in columns.items()})
    frame.index = pd.Index([f"road_{place:02d}" for place in range(len(frame))], name="name")
    return MethodScores(name, convention, frame)


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_caption_names_task_pictures_and_convention(output_format: Any) -> None:
    text = words(report_text([scores("ours", SSIM=BASE)], output_format, task="ivif", width=300))
    for part in ("IVIF", "infrared", "16 pictures", "ours", f"authors ({CONVENTIONS['authors'].title})", "bootstrap"):
        assert part in text


def test_one_method_shows_mean_interval_and_pictures() -> None:
    found = mean_interval(BASE, seed=3)
    text = report_text([scores("ours", SSIM=BASE)], "text", task="MIF", seed=3, width=100)
    row = next(line for line in text.splitlines() if line.startswith("SSIM"))
    assert words(row) == f"SSIM ↑ {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}] 16"
    assert "seed 3" in text


def test_several_methods_show_means_ranks_and_what_differs_from_the_first() -> None:
    better, same = BASE + 0.2, BASE + np.tile([0.01, -0.01], 8)
    methods = [scores(name, SSIM=values) for name, values in (("ours", BASE), ("best", better), ("alike", same))]
    text = report_text(methods, "text", task="IVIF", width=100)
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith(("ours", "best", "alike"))}
    assert rows["best"] == ["best", f"{better.mean():.4f}†", "(1)", "1.00"]
    # The same mean but for the order of summation.
    assert "†" not in "".join(rows["ours"] + rows["alike"])
    assert "† differs from ours, p < 0.05" in text
    assert "Holm-corrected for 2 tests" in words(text)
    assert "can pass" not in text


def test_the_mark_needs_the_corrected_p() -> None:
    # Seven pictures, all better: p = 2/128, which is below 0.05 alone and above it among four tests.
    first = scores("first", SSIM=BASE[:7], VIF=BASE[:7], Qabf=BASE[:7], EN=BASE[:7])
    alone = report_text([scores("f", SSIM=BASE[:7]), scores("o", SSIM=BASE[:7] + 0.1)], "text", task="IVIF", width=100)
    other = scores("other", SSIM=BASE[:7] + 0.1, VIF=BASE[:7], Qabf=BASE[:7], EN=BASE[:7])
    among = report_text([first, other], "text", task="IVIF", width=120)
    assert f"{(BASE[:7] + 0.1).mean():.4f}†" in alone
    assert f"{(BASE[:7] + 0.1).mean():.4f} (1)" in among
    assert "With 7 pictures no difference can pass that test." in among
    assert "can pass" not in alone


def test_too_few_pictures_for_any_difference_are_said_to_be_so() -> None:
    methods = [scores("first", SSIM=BASE[:5]), scores("other", SSIM=BASE[:5] + 0.3)]
    text = report_text(methods, "text", task="IVIF", width=100)
    assert "With 5 pictures no difference can pass that test." in text


@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_undefined_scores_are_marked_and_named(output_format: Any) -> None:
    gaps = BASE.copy()
    gaps[2:9] = math.nan
    methods = [scores("ours", SSIM=BASE, VIF=BASE), scores("flat", SSIM=BASE, VIF=gaps)]
    text = words(report_text(methods, output_format, task="IVIF", width=200)).replace("\\", "")
    assert f"{np.nanmean(gaps):.4f}" in text
    names = ", ".join(f"road_{place:02d}" for place in range(2, 7))
    assert f"‡ undefined and left out of the mean: VIF of flat: {names} … and 2 more." in text
    assert text.count("‡") == 2


def test_what_a_reader_must_know_of_metrics_is_noted_only_where_it_applies() -> None:
    plain = report_text([scores("ours", SSIM=BASE)], "text", task="IVIF", width=200)
    noted = report_text([scores("ours", EN=BASE, SSIM=BASE, ref_SSIM=BASE)], "text", task="IVIF", width=200)
    assert "Noise raises EN: no choice rests on them alone." in noted
    assert "ref_…: against the true image." in noted
    assert "Noise" not in plain
    assert "ref_" not in plain
    assert "‡" not in plain


def test_every_form_says_what_its_marks_mean() -> None:
    methods = [scores("ours", SSIM=BASE), scores("other", SSIM=BASE + 0.1)]
    bold = "Best bold, second-best underlined."
    assert bold in report_text(methods, "markdown", task="IVIF")
    assert bold in report_text(methods, "latex", task="IVIF")
    assert bold in report_text(methods, "text", task="IVIF", styled=True)
    assert bold not in report_text(methods, "text", task="IVIF")
    assert r"\label{tab:ivif}" in report_text(methods, "latex", task="IVIF")


def test_the_seed_decides_the_report() -> None:
    one, again, other = (
        report_text([scores("o", SSIM=BASE)], "markdown", task="IVIF", seed=seed) for seed in (1, 1, 2)
    )
    assert one == again
    assert one.replace("seed 1", "seed 2") != other


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], "no method"),
        ([scores("x", SSIM=BASE), scores("y", "tang", SSIM=BASE)], "different conventions"),
        ([scores("x", SSIM=BASE), scores("x", SSIM=BASE)], "the same name"),
        ([scores("x", SSIM=BASE), scores("y", VIF=BASE)], "different metrics"),
    ],
)
def test_what_does_not_go_into_one_table_is_refused(methods: list[MethodScores], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        report_text(methods, "text", task="IVIF")


def test_an_unknown_form_or_task_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from text, markdown, latex"):
        report_text([scores("x", SSIM=BASE)], "html", task="IVIF")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no fusion task"):
        report_text([scores("x", SSIM=BASE)], "text", task="XYZ")
