from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from refusion.errors import UserError
from refusion.metrics import CATALOGUE, CONVENTIONS, METRICS, evaluate, evaluate_against
from refusion.metrics import suite as suite_module
from refusion.metrics.lookup import find_definitions

SOURCES_NEEDED = [name for name in METRICS if CATALOGUE[name].needs_sources]
FULL_REFERENCE = [name for name, metric in CATALOGUE.items() if metric.full_reference]
seeds = st.integers(0, 2**32 - 1)


def random_images(seed: int, height: int, width: int) -> np.ndarray:
    """Three images between noise and soft blobs, some saturated to black and white."""
    rng = np.random.default_rng(seed)
    images = gaussian_filter(rng.normal(size=(3, height, width)), (0, *rng.uniform(0, 4, 2)))
    images = (images - images.mean()) / images.std() * rng.choice([10, 60, 1e4]) + rng.uniform(0, 255)
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], relative: float = 1e-9) -> None:
    assert list(first) == list(second)
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], rtol=relative, atol=1e-9, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}"
        )


# The file has ten significant digits. CDDFuse computes in single precision where we do not, hence 5e-7 there.
TOLERANCES = {"authors": 1e-9, "cddfuse": 5e-7, "vifb": 1e-9, "tang": 1e-9}


@pytest.mark.parametrize("convention", list(TOLERANCES))
def test_gives_the_public_evaluators_numbers(evaluators, convention: str) -> None:
    table = pd.read_csv(evaluators / "values.csv")
    table = table[table.convention == convention]
    ours = {definition.evaluator_name or name: name for name, definition in find_definitions("all", convention).items()}
    assert set(table.metric) <= set(ours)
    compared = 0
    for (task, stem, method), rows in table.groupby(["task", "stem", "method"]):
        paths = [evaluators / "images" / f"{task}__{stem}__{kind}.png" for kind in (method, "a", "b")]
        images = [np.asarray(Image.open(path)) for path in paths]
        scores = evaluate(*images, [ours[evaluator_name] for evaluator_name in rows.metric], convention)
        for row in rows.itertuples():
            expected = pytest.approx(row.value, rel=TOLERANCES[convention], nan_ok=True)
            assert scores[ours[row.metric]].item() == expected, f"{row.metric} of {stem}, {method}"
            compared += 1
    assert compared == 16 * table.metric.nunique()


def test_a_batch_scores_as_its_images_do(pair_of_triples) -> None:
    batch = [torch.from_numpy(np.stack(images))[:, None] for images in zip(*pair_of_triples, strict=True)]
    single = [evaluate(*triple) for triple in pair_of_triples]
    together = evaluate(*batch)
    assert_same(together, {name: torch.cat([scores[name] for scores in single]) for name in METRICS})
    assert all(score.shape == (2,) and score.dtype == torch.float64 for score in together.values())
    assert all(score.shape == (1,) for score in single[0].values())


def test_a_large_batch_is_worked_off_in_parts(pair_of_triples, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [torch.from_numpy(np.stack(images * 2))[:, None] for images in zip(*pair_of_triples, strict=True)]
    expected = evaluate(*batch)
    monkeypatch.setattr(suite_module, "pixels_at_once", lambda _on_cpu: 3 * 48 * 52)
    assert_same(evaluate(*batch), expected)


def test_the_type_of_the_numbers_does_not_matter(triple) -> None:
    expected = evaluate(*triple)
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int32):
        assert_same(evaluate(*(torch.from_numpy(image).to(dtype) for image in triple)), expected, 0)


def test_the_fused_image_counts_as_saved_but_the_sources_as_given(pair_of_triples) -> None:
    f, a, b = pair_of_triples[0]
    assert_same(evaluate(f + 0.3, a, b), evaluate(f, a, b), 0)
    shaken = evaluate(f, a * 0.99 + 0.4, b)
    plain = evaluate(f, a, b)
    assert [name for name in METRICS if shaken[name] != plain[name]] == SOURCES_NEEDED


def test_inputs_are_left_alone(triple) -> None:
    given_images = [torch.from_numpy(image).double() for image in triple]
    kept = [image.clone() for image in given_images]
    evaluate(*given_images)
    assert all(torch.equal(image, before) for image, before in zip(given_images, kept, strict=True))


def test_scores_carry_no_graph(triple) -> None:
    f, a, b = (torch.from_numpy(image).float() for image in triple)
    assert not any(score.requires_grad for score in evaluate(f.requires_grad_(), a, b).values())


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_the_order_of_the_sources_does_not_matter(seed: int) -> None:
    f, a, b = random_images(seed, 42, 47)
    assert_same(evaluate(f, a, b), evaluate(f, b, a))


@pytest.mark.parametrize("convention", list(CONVENTIONS))
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_the_order_of_the_sources_does_not_matter_to_any_metric(convention: str, seed: int) -> None:
    f, a, b = random_images(seed, 47, 53)
    # Tang's Nabf is handed its images in the wrong order.
    mixed_up = {"tang": {"Nabf"}}.get(convention, set())
    names = [n for n, d in find_definitions("all", convention).items() if d.smallest_side <= 47 and n not in mixed_up]
    assert_same(evaluate(f, a, b, names, convention), evaluate(f, b, a, names, convention))


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_mirroring_changes_nothing_where_the_definition_is_symmetric(seed: int) -> None:
    # VIF keeps every second sample from the first on, so only sides 16 n + 9 are symmetric; Qabf's angle jumps at π/2,
    # so it takes half a turn but no mirroring.
    images = random_images(seed, 41, 57)
    names = [name for name in METRICS if name != "Qabf"]
    expected = evaluate(*images, names)
    assert_same(evaluate(*images[:, ::-1], names), expected)
    assert_same(evaluate(*images[:, :, ::-1], names), expected)
    assert_same(evaluate(*images.swapaxes(1, 2), names), expected)
    assert_same(evaluate(*images[:, ::-1, ::-1], "Qabf"), evaluate(*images, "Qabf"))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_scores_lie_in_the_range_that_the_catalogue_gives(seed: int) -> None:
    images = random_images(seed, 43, 44)
    definitions = find_definitions()
    for name, score in evaluate(*images).items():
        if not score.isnan():
            assert definitions[name].low - 1e-9 <= score.item() <= definitions[name].high + 1e-9, name


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_fused_image_scores_nan_and_its_neighbours_do_not(pair_of_triples, broken: float) -> None:
    f, a, b = (torch.from_numpy(np.stack(images))[:, None].float() for images in zip(*pair_of_triples, strict=True))
    expected = evaluate(f[:1], a[:1], b[:1])
    f[1, 0, 20, 31] = broken
    scores = evaluate(f, a, b)
    assert all(score[1].isnan() for score in scores.values())
    assert_same({name: score[:1] for name, score in scores.items()}, expected)


@pytest.mark.parametrize("corner", [(0, 0), (47, 51), (20, 31)])
def test_nan_in_a_source_shows_in_each_metric_that_looks_at_it(pair_of_triples, corner: tuple[int, int]) -> None:
    f, a, b = (torch.from_numpy(image).float() for image in pair_of_triples[0])
    b[corner] = torch.nan
    assert [name for name, score in evaluate(f, a, b).items() if score.isnan()] == SOURCES_NEEDED


def test_one_name_several_names_and_none() -> None:
    images = random_images(3, 44, 44)
    assert list(evaluate(*images)) == list(METRICS)
    assert list(evaluate(*images, ["SSIM", "EN"])) == ["SSIM", "EN"]
    assert list(evaluate(*images, "SSIM")) == ["SSIM"]


def test_an_empty_batch_has_no_scores() -> None:
    nothing = torch.zeros(0, 1, 44, 44)
    assert all(score.shape == (0,) for score in evaluate(nothing, nothing, nothing).values())


def test_images_too_small_for_a_window_are_refused() -> None:
    images = random_images(0, 40, 60)
    with pytest.raises(UserError, match="VIF needs images of at least 41×41 pixels, but these have 40×60"):
        evaluate(*images)
    assert evaluate(*images, ["SSIM"])["SSIM"].isfinite()
    with pytest.raises(UserError, match="nothing to score in images of 0×60 pixels"):
        evaluate(*images[:, :0], "EN")


def test_sources_between_grey_levels_count_as_whole_ones_where_the_evaluator_reads_files(pair_of_triples) -> None:
    f, a, b = pair_of_triples[0]
    for convention, facts in CONVENTIONS.items():
        same = (
            evaluate(f, a + 0.3, b - 0.3, "SSIM", convention)["SSIM"] == evaluate(f, a, b, "SSIM", convention)["SSIM"]
        )
        assert same.item() == facts.rounds_sources


def test_against_one_true_image(pair_of_triples) -> None:
    f, a, _ = pair_of_triples[0]
    scores = evaluate_against(f, a, ["SSIM", "PSNR", "MSE", "CC", "VIF"])
    assert scores["SSIM"].item() == pytest.approx(structural_similarity(a, f), rel=1e-10)
    assert scores["PSNR"].item() == pytest.approx(peak_signal_noise_ratio(a, f), rel=1e-10)
    halved = evaluate_against(f, a, "VIF", "tang")["VIF"]
    assert halved.item() == pytest.approx(scores["VIF"].item(), rel=1e-10)
    large = np.random.default_rng(0).integers(0, 256, (2, 176, 176), dtype=np.uint8)
    assert list(evaluate_against(*large)) == [
        name for name in FULL_REFERENCE if "authors" in CATALOGUE[name].definitions
    ]
    with pytest.raises(UserError, match="Qabf has no meaning against one true image: choose from CE, CC"):
        evaluate_against(f, a, ["SSIM", "Qabf"])


@pytest.mark.parametrize("convention", list(CONVENTIONS))
@pytest.mark.filterwarnings("error")
def test_degenerate_images_have_an_answer_in_every_metric(convention: str) -> None:
    rng = np.random.default_rng(1)
    picture, other = rng.integers(0, 256, (2, 176, 176), dtype=np.uint8)
    flat, black = np.full_like(picture, 90), np.zeros_like(picture)
    for images in ((flat, flat, flat), (black, black, black), (flat, picture, other), (picture, flat, black)):
        for name, score in evaluate(*images, "all", convention).items():
            definition = find_definitions([name], convention)[name]
            within = definition.low - 1e-9 <= score.item() <= definition.high + 1e-9
            assert score.shape == (1,), name
            assert score.isnan().item() or within, (name, score)
    # A copy of a source leaves nothing of the other one to correlate with.
    copy = evaluate(picture, picture, other, "all", convention)
    assert [name for name, score in copy.items() if score.isnan()] == (["SCD"] if "SCD" in copy else [])


@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_pictures_one_pixel_high_or_wide(convention: str) -> None:
    line = np.random.default_rng(4).integers(0, 256, (3, 1, 60), dtype=np.uint8)
    possible = [name for name, d in find_definitions("all", convention).items() if d.smallest_side == 1]
    assert {"EN", "SD"} <= set(possible)
    for images in (line, line.swapaxes(1, 2), line[:, :, :1]):
        assert all(score.shape == (1,) for score in evaluate(*images, possible, convention).values())


@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_a_broken_image_spoils_its_own_scores_only(convention: str) -> None:
    rng = np.random.default_rng(2)
    batch = [torch.from_numpy(images)[:, None] for images in rng.integers(0, 256, (3, 2, 176, 176)).astype(float)]
    sound = evaluate(*batch, "all", convention)
    broken = [images.clone() for images in batch]
    broken[0][1, 0, 100, 31] = torch.nan
    scores = evaluate(*broken, "all", convention)
    assert all(score[1].isnan() for score in scores.values())
    assert_same({n: score[:1] for n, score in scores.items()}, {n: score[:1] for n, score in sound.items()})


@pytest.mark.gpu
def test_a_gpu_gives_the_same_scores(pair_of_triples) -> None:
    batch = [torch.from_numpy(np.stack(images))[:, None] for images in zip(*pair_of_triples, strict=True)]
    for convention in CONVENTIONS:
        names = [name for name, d in find_definitions("all", convention).items() if d.smallest_side <= 48]
        scores = evaluate(batch[0].cuda(), batch[1], batch[2].cuda(), names, convention)
        assert all(score.is_cuda for score in scores.values())
        assert_same({name: score.cpu() for name, score in scores.items()}, evaluate(*batch, names, convention))
