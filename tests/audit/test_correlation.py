from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from refusion.audit.correlation import agreement


def rows(losses: dict[str, list[float]], scores: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"method": method, "pair": f"p{number}", "seed": seed, "reward": loss + seed, "VIF": score}
            for seed in (0, 1)
            for method in losses
            for number, (loss, score) in enumerate(zip(losses[method], scores[method], strict=True))
        ]
    )


def drawn(methods: int, seed: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    random = np.random.default_rng(seed)
    names = [f"m{number}" for number in range(methods)]
    return tuple({name: random.random(9).tolist() for name in names} for _ in range(2))  # type: ignore[return-value]


def test_spearman_of_the_means() -> None:
    losses, scores = drawn(7, seed=3)
    found = agreement(rows(losses, scores), "VIF")
    means = [[np.mean(values) for values in table.values()] for table in (losses, scores)]
    assert found.interval.mean == pytest.approx(-spearmanr(*means)[0])
    assert found.methods == 7
    assert found.interval.low < found.interval.mean < found.interval.high
    assert agreement(rows(losses, scores), "VIF") == found != agreement(rows(losses, scores), "VIF", seed=1)


def test_an_interval_without_chance_is_a_point() -> None:
    losses = {f"m{number}": [float(number)] * 4 for number in range(5)}
    scores = {f"m{number}": [-float(number)] * 4 for number in range(5)}
    interval = agreement(rows(losses, scores), "VIF").interval
    assert (interval.mean, interval.low, interval.high) == pytest.approx((1, 1, 1))


def test_a_source_alone_does_not_count() -> None:
    losses, scores = drawn(5, seed=4)
    without = agreement(rows(losses, scores), "VIF")
    assert agreement(rows({**losses, "a": [0.0] * 9}, {**scores, "a": [99.0] * 9}), "VIF") == without


def test_undefined_scores() -> None:
    losses, scores = drawn(4, seed=5)
    scores["m1"][2] = math.nan
    assert agreement(rows(losses, scores), "VIF").methods == 4
    scores["m1"] = [math.nan] * 9
    assert agreement(rows(losses, scores), "VIF").methods == 3


def test_two_methods_have_no_correlation() -> None:
    found = agreement(rows(*drawn(2, seed=6)), "VIF")
    assert math.isnan(found.interval.mean) and math.isnan(found.interval.low) and found.methods == 2
