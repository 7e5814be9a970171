from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sewar.full_ref import vifp
from skimage.io import imread
from torchmetrics.functional.image import visual_information_fidelity

from refusion.metrics import evaluate, filters
from refusion.metrics.families.fidelity import mean_vifp, summed_vifp

cddfuse_viff = partial(summed_vifp, flat=1.0)


def score(function, f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    fused, *sources = (torch.from_numpy(np.array(image, float))[None] for image in (f, a, b))
    return function(fused, torch.stack(sources)).item()


def reference(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return float(vifp(a, f) + vifp(b, f)) / 2


def test_agrees_with_sewar(triple) -> None:
    assert evaluate(*triple, "VIF")["VIF"].item() == pytest.approx(reference(*triple), rel=1e-8)


def test_agrees_in_strips_and_for_sources_between_grey_levels(triple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: 1000)
    f, a, b = triple
    a, b = a * 0.97 + 1.3, b * 0.93 + 2.1
    expected = reference(f.astype(float), a, b)
    assert evaluate(f, a, b, "VIF")["VIF"].item() == pytest.approx(expected, rel=1e-8)


def test_the_sum_is_sewars_too(triple) -> None:
    assert score(summed_vifp, *triple) == pytest.approx(2 * reference(*triple), rel=1e-8)
    assert score(cddfuse_viff, *triple) == score(summed_vifp, *triple)


@pytest.mark.parametrize(
    ("function", "convention", "metric"), [(cddfuse_viff, "cddfuse", "VIFF"), (summed_vifp, "tang", "VIF")]
)
def test_gives_the_public_evaluators_numbers(evaluators: Path, function, convention: str, metric: str) -> None:
    table = pd.read_csv(evaluators / "values.csv").query("convention == @convention and metric == @metric")
    assert len(table) == 16
    for row in table.itertuples():
        images = [imread(evaluators / "images" / f"{row.task}__{row.stem}__{i}.png") for i in (row.method, "a", "b")]
        assert score(function, *images) == pytest.approx(row.value, rel=1e-8)


def test_is_one_for_a_copy_and_more_for_higher_contrast() -> None:
    a = np.random.default_rng(0).integers(60, 190, (48, 48), dtype=np.uint8)
    stretched = np.round((a - 125.0) * 1.8 + 125).astype(np.uint8)
    assert evaluate(a, a, a, "VIF")["VIF"].item() == pytest.approx(1, abs=1e-9)
    assert evaluate(stretched, a, a, "VIF")["VIF"].item() > 1


@pytest.mark.parametrize("level", [0, 90, 100.3, 255])
def test_a_flat_source_gives_nan(triple, level: float) -> None:
    f, a, b = triple
    assert evaluate(f, np.full(a.shape, level), b, "VIF")["VIF"].isnan()


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_flat_source_counts_as_one_for_cddfuse(triple, level: int) -> None:
    f, a, b = triple
    flat = np.full(a.shape, level)
    other = float(vifp(b, f))
    assert np.isnan(score(summed_vifp, f, flat, b))
    assert score(cddfuse_viff, f, flat, b) == pytest.approx(1 + other, rel=1e-8)
    assert score(cddfuse_viff, flat, flat, flat) == 2


def test_a_flat_fused_image_keeps_nothing(triple) -> None:
    f, a, b = triple
    assert evaluate(np.full_like(f, 90), a, b, "VIF")["VIF"].item() == 0


def test_works_from_41_pixels_on() -> None:
    f, a, b = np.random.default_rng(3).integers(0, 256, (3, 41, 41))
    assert score(summed_vifp, f, a, b) == pytest.approx(2 * reference(*(x.astype(float) for x in (f, a, b))), rel=1e-8)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_symmetric_in_the_sources_and_never_negative(seed: int) -> None:
    f, a, b = np.random.default_rng(seed).integers(0, 256, (3, 44, 42))
    got = score(summed_vifp, f, a, b)
    assert got >= 0
    assert score(summed_vifp, f, b, a) == pytest.approx(got, rel=1e-12)
    assert score(mean_vifp, f, a, b) == pytest.approx(got / 2, rel=1e-12)


@pytest.mark.parametrize("function", [mean_vifp, summed_vifp, cddfuse_viff])
def test_each_image_of_a_batch_has_its_own_score(pair_of_triples, function) -> None:
    first, second = pair_of_triples
    f, a, b = (
        torch.from_numpy(np.stack([*pictures, pictures[0]])).double() for pictures in zip(*pair_of_triples, strict=True)
    )
    f[2, 5, 5] = torch.nan
    batch = function(f, torch.stack([a, b]))
    assert function(f[:0], torch.stack([a, b])[:, :0]).shape == (0,)
    assert batch[:2].tolist() == pytest.approx([score(function, *first), score(function, *second)], abs=1e-12)
    assert batch[2].isnan()


def test_nan_is_not_taken_for_a_flat_source() -> None:
    spoilt = np.full((41, 41), np.nan)
    flat = np.full((41, 41), 9)
    assert np.isnan(score(cddfuse_viff, spoilt, flat, flat))
    assert np.isnan(score(cddfuse_viff, flat, spoilt, flat))


def test_agrees_with_torchmetrics(triple) -> None:
    f, a, b = (torch.from_numpy(image).double()[None, None] for image in triple)
    expected = sum(visual_information_fidelity(f, source).item() for source in (a, b)) / 2
    # torchmetrics has its constants and window in single precision.
    assert evaluate(*triple, "VIF")["VIF"].item() == pytest.approx(expected, rel=1e-5)
