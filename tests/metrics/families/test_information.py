from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from metric_checks import Compute, check_against_oracle, check_batch_and_nan, same_to_all, score
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score

from refusion.metrics import evaluate
from refusion.metrics.families.information import (
    cross_entropy,
    entropy,
    mutual_information,
    normalised_mutual_information,
)

pytestmark = pytest.mark.filterwarnings("error")

VARIANTS: dict[str, Compute] = {
    "EN": entropy,
    "MI": mutual_information,
    "MI, nats": partial(mutual_information, base=math.e),
    "MI, whites merged": partial(mutual_information, merge_whites=True),
    "NMI": normalised_mutual_information,
    "CE": cross_entropy,
    "CE, prior": partial(cross_entropy, prior=0.5),
}
WITH_SOURCES = {name: compute for name, compute in VARIANTS.items() if name != "EN"}
# Few levels and few pixels, so that levels are lacking, alone or in pairs.
images = st.integers(1, 7).flatmap(
    lambda width: arrays(np.uint8, (3, 6, width), elements=st.sampled_from([0, 1, 7, 200, 253, 254, 255]))
)


def histogram(image: np.ndarray) -> np.ndarray:
    return np.bincount(image.astype(int).ravel(), minlength=256)


def test_en_is_the_entropy_of_the_grey_levels(triple) -> None:
    _, counts = np.unique(triple[0], return_counts=True)
    expected = scipy_entropy(counts, base=2)
    assert evaluate(*triple, "EN")["EN"].item() == score(entropy, *triple) == pytest.approx(expected, rel=1e-12)


def test_known_values_of_en() -> None:
    every_level = np.arange(256, dtype=np.uint8).reshape(16, 16)
    flat = np.full((16, 16), 7, np.uint8)
    assert score(entropy, every_level, flat, flat) == pytest.approx(8, abs=1e-12)
    assert score(entropy, flat, flat, flat) == 0


def test_mi_and_nmi_agree_with_scikit_learn(triple) -> None:
    f, a, b = (image.ravel() for image in triple)
    nats = mutual_info_score(f, a) + mutual_info_score(f, b)
    assert score(VARIANTS["MI, nats"], *triple) == pytest.approx(nats, rel=1e-12)
    assert score(mutual_information, *triple) == pytest.approx(nats / math.log(2), rel=1e-12)
    normalised = normalized_mutual_info_score(f, a) + normalized_mutual_info_score(f, b)
    assert score(normalised_mutual_information, *triple) == pytest.approx(normalised, rel=1e-12)


def test_stretching_to_full_contrast_first_as_vifb_does_changes_nothing(triple) -> None:
    stretched = [(image - float(image.min())) / (image.max() - float(image.min())) for image in triple]
    stretched = [np.floor(image * 255 + 0.5).astype(np.uint8) for image in stretched]
    assert not np.array_equal(stretched[2], triple[2])
    assert score(mutual_information, *stretched) == pytest.approx(score(mutual_information, *triple), rel=1e-13)


def test_merged_whites_saturate_in_the_joint_histogram_only(triple) -> None:
    rng = np.random.default_rng(3)
    triple = tuple(image.copy() for image in triple)
    for image in triple:
        image[:9] = rng.integers(253, 256, image[:9].shape)
    expected = 0.0
    for source in triple[1:]:
        pairs = np.minimum(triple[0], 254) * 1000.0 + np.minimum(source, 254)
        joint = scipy_entropy(np.unique(pairs, return_counts=True)[1], base=2)
        expected += sum(scipy_entropy(histogram(image), base=2) for image in (triple[0], source)) - joint
    assert score(VARIANTS["MI, whites merged"], *triple) == pytest.approx(expected, rel=1e-12)
    assert score(VARIANTS["MI, whites merged"], *triple) > score(mutual_information, *triple) + 1e-6


def test_ce_from_its_definition(triple) -> None:
    f, *sources = (histogram(image) / image.size for image in triple)
    terms = [s[k] * math.log2(s[k] / f[k]) for s in sources for k in range(256) if s[k] > 0 and f[k] > 0]
    assert score(cross_entropy, *triple) == pytest.approx(sum(terms) / 2, rel=1e-12)


def test_ce_with_a_prior_is_a_divergence_of_smoothed_histograms(triple) -> None:
    f, a, b = (histogram(image) + 0.5 for image in triple)
    expected = (scipy_entropy(a, f, base=2) + scipy_entropy(b, f, base=2)) / 2
    assert score(VARIANTS["CE, prior"], *triple) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("convention", "metric", "compute"),
    [
        ("authors", "EN", entropy),
        ("cddfuse", "EN", entropy),
        ("cddfuse", "MI", VARIANTS["MI, nats"]),
        ("vifb", "Entropy", entropy),
        ("vifb", "Mutinf", VARIANTS["MI, nats"]),
        ("vifb", "Cross_entropy", cross_entropy),
        ("tang", "EN", entropy),
        ("tang", "MI", VARIANTS["MI, whites merged"]),
    ],
)
def test_agrees_with_public_evaluators(evaluators: Path, convention: str, metric: str, compute: Compute) -> None:
    check_against_oracle(evaluators, convention, metric, compute)


def test_sources_between_grey_levels_count_as_the_nearest(triple) -> None:
    f, a, b = (image.astype(float) for image in triple)
    shift = np.random.default_rng(2).uniform(-0.49, 0.49, a.shape)
    for name, compute in WITH_SOURCES.items():
        assert score(compute, f, a + shift, b - shift) == score(compute, f, a, b), name


@given(images)
@settings(max_examples=60, deadline=None)
def test_bounds_and_what_changes_nothing(triple: np.ndarray) -> None:
    f, a, b = triple
    bounds = {"MI": 16, "MI, nats": 16 * math.log(2), "MI, whites merged": 2 * math.log2(258), "NMI": 2 + 1e-12}
    for name, compute in VARIANTS.items():
        value = score(compute, f, a, b)
        least = -math.log2(math.e) / math.e if name == "CE" else -1e-12
        assert (name == "NMI" and math.isnan(value)) or least <= value <= bounds.get(name, math.inf), name
        for same in same_to_all(f, a, b):
            assert score(compute, *same) == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name
    information = score(mutual_information, f, a, b)
    assert information <= 2 * score(entropy, f, a, b) + 1e-12
    assert score(mutual_information, 255 - f, a, b) == pytest.approx(information, abs=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_scores_as_its_images_do_and_nan_stays_where_it_is(name: str, pair_of_triples) -> None:
    check_batch_and_nan(VARIANTS[name], name != "EN", pair_of_triples)


def test_an_image_shares_all_its_information_with_itself(triple) -> None:
    f = triple[0]
    assert score(mutual_information, f, f, f) == pytest.approx(2 * score(entropy, f, f, f), rel=1e-12)
    assert score(normalised_mutual_information, f, f, f) == pytest.approx(2, rel=1e-12)
    assert score(cross_entropy, f, f, f) == score(VARIANTS["CE, prior"], f, f, f) == 0


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("shape", [(9, 8), (1, 6), (1, 1)])
def test_flat_images(level: int, shape: tuple[int, int]) -> None:
    flat, other = np.full(shape, level, np.uint8), np.arange(math.prod(shape), dtype=np.uint8).reshape(shape) + 100
    for name in ("EN", "MI", "MI, nats", "MI, whites merged", "CE", "CE, prior"):
        assert score(VARIANTS[name], flat, flat, flat) == 0, name
    assert math.isnan(score(normalised_mutual_information, flat, flat, flat))
    assert score(mutual_information, flat, other, other) == pytest.approx(0, abs=1e-12)
    if other.size > 1:
        assert score(normalised_mutual_information, flat, other, other) == pytest.approx(0, abs=1e-12)
        assert math.isnan(score(normalised_mutual_information, flat, other, flat))


def test_a_fused_image_that_lacks_all_levels_is_perfect_to_ce_but_not_with_a_prior(triple) -> None:
    _, a, b = triple
    a, b = a // 2 + 1, b // 2 + 1
    black = np.zeros_like(a)
    assert score(cross_entropy, black, a, b) == 0
    assert score(VARIANTS["CE, prior"], black, a, b) > score(VARIANTS["CE, prior"], a, a, b) + 1
