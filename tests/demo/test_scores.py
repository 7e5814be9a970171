from __future__ import annotations

import numpy as np
import pytest

from refusion.demo.scores import as_html, fitting_metrics, is_slow, score
from refusion.metrics import METRICS, evaluate


def test_scores_are_those_of_the_picture_as_it_is_saved() -> None:
    random = np.random.default_rng(0)
    picture, sources = random.integers(0, 256, (40, 48), np.uint8), random.random((2, 40, 48), np.float32)
    found = score(picture, sources, ["EN", "Qabf"])
    expected = evaluate(picture, sources[0] * 255, sources[1] * 255, ["EN", "Qabf"])
    assert found == {name: pytest.approx(float(value)) for name, value in expected.items()}


def test_metrics_that_do_not_fit_are_left_out_and_validations_come_first() -> None:
    assert fitting_metrics(400, 400)[: len(METRICS)] == list(METRICS)
    assert "MS-SSIM" in fitting_metrics(400, 400) and "MS-SSIM" not in fitting_metrics(20, 400)
    slow = {name for name in fitting_metrics(400, 400) if is_slow(name)}
    assert slow and not slow & set(fitting_metrics(400, 400, slow=False))


def test_the_best_of_a_row_is_bold_by_the_metrics_direction() -> None:
    table = as_html({"fused": {"EN": 7.0, "MSE": 9.0}, "<max>": {"EN": 6.0, "MSE": float("nan")}, "mean": {"MSE": 4.0}})
    assert "<b>7.0000</b>" in table and "<b>4.0000</b>" in table and "<b>9.0000</b>" not in table
    assert "&lt;max&gt;" in table and "<td>–</td>" in table
    assert "<b>" not in as_html({"fused": {"EN": 7.0}})
