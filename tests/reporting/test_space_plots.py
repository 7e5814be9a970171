from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refusion.reporting import space_plots
from refusion.reporting.figures import NothingToShowError, to_png
from refusion.reporting.space_plots import contour, importances, optuna_study, parallel_coordinates, slices
from refusion.reporting.study import Study, read_study
from refusion.tracking.sweeps import RecordedSweep, RecordedTrial, read_sweep


@pytest.fixture(scope="module")
def study(store: str) -> Study:
    return read_study(read_sweep(store, "study", "asha"))


def made(space: dict[str, Any], values: list[dict[str, Any]], scores: list[float]) -> Study:
    spec = {"name": "s", "tasks": ["IVIF"], "objective": "SSIM", "space": space}
    trials = [
        RecordedTrial(number, "", own, "finished", [{"epoch": 0}], {1: {"SSIM": score}}, 1.0)
        for number, (own, score) in enumerate(zip(values, scores, strict=True), 1)
    ]
    return read_study(RecordedSweep("s", "", spec, {}, trials, None, None))


def wide_and_tall(figure: Any) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB"))
    assert min(pixels.shape[:2]) > 100
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    return pixels


def test_what_matters_is_found_and_repeats() -> None:
    space = {"objective.alpha": {"low": 0.0, "high": 1.0}, "objective.beta": {"low": 0.0, "high": 1.0}}
    random = np.random.default_rng(0)
    values = [dict(zip(space, map(float, row), strict=True)) for row in random.random((30, 2))]
    study = made(space, values, [own["objective.beta"] + 0.01 * own["objective.alpha"] for own in values])
    found = importances(study)
    assert list(found) == ["objective.beta", "objective.alpha"]
    assert found["objective.beta"] > 0.9
    assert importances(study) == found


def test_only_shared_parameters_are_weighed(study: Study) -> None:
    shared, conditional = space_plots.shared_parameters(study)
    assert conditional == ["schedule.rate.every"]
    assert set(importances(study)) == set(shared)


def test_optuna_gets_the_trials_that_lie_in_the_space(study: Study) -> None:
    numbers = study.compared
    strange = dataclasses.replace(study.trials[numbers[0]], values={"schedule.rate.value": 77.0})
    changed = dataclasses.replace(study, trials={**study.trials, numbers[0]: strange})
    assert len(optuna_study(study, numbers).trials) == len(optuna_study(changed, numbers).trials) + 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["importance_chart", "slices", "contour", "parallel_coordinates"])
def test_pictures_of_a_sweep_with_conditions(study: Study, name: str) -> None:
    first = wide_and_tall(getattr(space_plots, name)(study))
    assert np.array_equal(first, wide_and_tall(getattr(space_plots, name)(study)))


@pytest.mark.parametrize("name", ["slices", "contour", "parallel_coordinates"])
def test_pictures_of_an_evolved_sweep(store: str, name: str) -> None:
    wide_and_tall(getattr(space_plots, name)(read_study(read_sweep(store, "study", "pbt"))))


def test_every_picture_says_why_it_is_missing() -> None:
    space = {"objective.alpha": {"low": 0.0, "high": 1.0}, "schedule.rate.value": {"low": 1e-4, "high": 1e-2}}
    alone = made(space, [{"objective.alpha": 0.5, "schedule.rate.value": 1e-3}], [0.5])
    several = made(space, [{"objective.alpha": n / 10, "schedule.rate.value": 1e-3} for n in range(9)], [0.5] * 9)
    nothing = made(space, [], [])
    for draw, study, reason in (
        (importances, alone, "at least 8 trials"),
        (importances, several, "scores that differ"),
        (slices, nothing, "no trial"),
        (contour, several, "schedule.inner_steps"),
        (parallel_coordinates, alone, "two trials"),
    ):
        with pytest.raises(NothingToShowError, match=re.escape(reason)):
            draw(study)


def test_a_contour_needs_points_that_differ_in_both() -> None:
    space = {"schedule.rate.value": {"low": 1e-4, "high": 1e-2}, "schedule.inner_steps": {"low": 1, "high": 5}}
    values = [{"schedule.rate.value": 1e-3, "schedule.inner_steps": steps} for steps in (1, 2, 3, 4, 5)]
    with pytest.raises(NothingToShowError, match="too few trials differ"):
        contour(made(space, values, [0.1, 0.2, 0.3, 0.4, 0.5]))
