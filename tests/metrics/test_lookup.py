from __future__ import annotations

import numpy as np
import pytest

from refusion.errors import UserError
from refusion.metrics import CATALOGUE, CONVENTIONS, METRICS, evaluate
from refusion.metrics.lookup import find_definitions


def test_names_and_order() -> None:
    assert METRICS == ("EN", "SD", "SF", "AG", "SCD", "SSIM", "VIF", "Qabf")
    assert all(name == metric.name for name, metric in CATALOGUE.items())


def test_every_convention_of_a_metric_is_known() -> None:
    assert {c for metric in CATALOGUE.values() for c in metric.definitions} == set(CONVENTIONS)


def test_noise_raises_exactly_the_metrics_that_are_marked(pair_of_triples) -> None:
    fused, a, b = pair_of_triples[0]
    noisy = np.clip(fused + np.random.default_rng(2).normal(0, 20, fused.shape), 0, 255)
    before, after = evaluate(fused, a, b), evaluate(noisy, a, b)
    raised = {name for name in METRICS if after[name] > before[name]}
    assert raised == {name for name in METRICS if CATALOGUE[name].noise_sensitive}


def test_direction_says_which_of_two_images_is_the_better(pair_of_triples) -> None:
    fused, a, b = pair_of_triples[0]
    large = [np.pad(image, ((64, 64), (62, 62)), mode="symmetric") for image in (fused, a, b)]
    # MI and its kin, and Nabf, do not mind a negative.
    blind = {"MI", "NMI", "FMI-pixel", "FMI-gradient", "FMI-DCT", "FMI-wavelet", "Nabf"}
    noise = np.random.default_rng(0).integers(0, 256, large[0].shape)
    for worse, names in ((255 - large[0], set(CATALOGUE) - blind), (noise, blind)):
        wanted = [name for name in find_definitions("all") if name in names and not CATALOGUE[name].noise_sensitive]
        good, bad = evaluate(*large, wanted), evaluate(worse, *large[1:], wanted)
        for name in wanted:
            assert (good[name] > bad[name]) == (CATALOGUE[name].direction == "higher"), name


@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_the_smallest_side_is_sharp(convention: str) -> None:
    rng = np.random.default_rng(0)
    for name, definition in find_definitions("all", convention).items():
        side = definition.smallest_side
        images = rng.integers(0, 255, (3, side, side), dtype=np.uint8)
        evaluate(*images, name, convention)
        if side > 1:
            with pytest.raises(UserError, match=f"{name} needs images of at least {side}×{side}"):
                evaluate(*images[:, 1:], name, convention)


def test_unknown_names_are_answered_with_those_that_exist() -> None:
    with pytest.raises(UserError, match=r"no metric 'PSNRR' in convention 'authors': choose from EN, SD, .*Qabf"):
        find_definitions(["EN", "PSNRR"])
    with pytest.raises(UserError, match="no metric convention 'mine': choose from authors"):
        find_definitions(None, "mine")


def test_the_order_asked_for_is_kept() -> None:
    assert list(find_definitions(["Qabf", "EN"])) == ["Qabf", "EN"]
    assert tuple(find_definitions()) == METRICS
    assert list(find_definitions("all")) == [name for name in CATALOGUE if "authors" in CATALOGUE[name].definitions]
    assert list(find_definitions(None, "tang")) == list(find_definitions("all", "tang"))
