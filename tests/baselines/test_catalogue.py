from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from refusion.baselines import BASELINES, find_baseline, fuse_baseline, fuse_luminance
from refusion.errors import UserError
from refusion.images.colour import luminance, restore_colour
from refusion.images.reading import read_image
from refusion.metrics import evaluate
from refusion.tasks import TASKS

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (2, 24, 32), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)

each_baseline = pytest.mark.parametrize("name", BASELINES)


def test_the_names_and_the_tasks_they_are_meant_for() -> None:
    assert list(BASELINES) == ["average", "max", "laplacian", "wavelet", "guided", "mertens", "focus"]
    assert all(baseline.name == name for name, baseline in BASELINES.items())
    assert BASELINES["mertens"].tasks == ("MEIF",)
    assert BASELINES["focus"].tasks == ("MFIF",)
    assert BASELINES["guided"].tasks == tuple(TASKS)


def test_an_unknown_baseline_is_refused_by_naming_those_that_exist() -> None:
    message = "there is no baseline 'mean': choose from average, max, laplacian, wavelet, guided, mertens, focus"
    with pytest.raises(UserError) as caught:
        find_baseline("mean")
    assert str(caught.value) == message
    with pytest.raises(UserError, match="there is no baseline 'mean'"):
        fuse_baseline("mean", *GREY, "IVIF")
    assert find_baseline("Laplacian").name == "laplacian"


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UserError, match="there is no fusion task 'XYZ'"):
        fuse_baseline("average", *GREY, "XYZ")


@each_baseline
def test_sources_of_two_sizes_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="must be of one size, but are 32×24 and 31×24 pixels"):
        fuse_baseline(name, GREY[0], GREY[1][:, 1:], "IVIF")


@each_baseline
@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [
        (GREY[0], GREY[1], (24, 32)),
        (GREY[0], COLOUR[0], (24, 32, 3)),
        (COLOUR[0], GREY[0], (24, 32, 3)),
        (COLOUR[0], COLOUR[1], (24, 32, 3)),
        (np.dstack([GREY[0]] * 3), GREY[1], (24, 32)),
    ],
)
def test_the_result_has_colour_where_a_source_has(name: str, a: Any, b: Any, shape: tuple[int, ...]) -> None:
    fused = fuse_baseline(name, a, b, "ivif")
    assert fused.shape == shape
    assert fused.dtype == np.uint8
    assert np.array_equal(fused, fuse_baseline(name, a.astype(np.float64), b.astype(np.float32), "IVIF"))


@each_baseline
def test_the_colour_is_that_of_the_one_rule(name: str) -> None:
    fused = fuse_luminance(name, luminance(GREY[0]), luminance(COLOUR[0]))
    expected = restore_colour(fused * np.float32(255), GREY[0], COLOUR[0])
    assert np.array_equal(fuse_baseline(name, GREY[0], COLOUR[0], "IVIF"), expected)


@each_baseline
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (2, 3), (3, 17), (7, 5), (24, 31)])
def test_any_size_is_fused_and_equal_sources_come_back(name: str, size: tuple[int, int]) -> None:
    a, b = (image[: size[0], : size[1]] for image in GREY)
    assert fuse_baseline(name, a, b, "MEIF").shape == size
    same = fuse_baseline(name, a, a, "MEIF")
    assert np.abs(same.astype(int) - a).max() <= 1


@each_baseline
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_flat_sources_stay_flat(name: str, level: int) -> None:
    flat = np.full((20, 23), level, np.uint8)
    assert np.array_equal(fuse_baseline(name, flat, flat, "IVIF"), flat)


@each_baseline
def test_the_order_of_the_sources_does_not_matter(name: str, noise: Any) -> None:
    a, b = noise
    # Pixels where neither leads, as in saturated regions.
    b = b.copy()
    b[:, :20] = a[:, :20]
    np.testing.assert_allclose(fuse_luminance(name, a, b), fuse_luminance(name, b, a), atol=2e-6)


@each_baseline
def test_luminance_is_clipped_not_stretched(name: str, noise: Any) -> None:
    black_and_white = np.where(noise[0] > 0.5, 1, 0).astype(np.float32)
    fused = fuse_luminance(name, black_and_white, 1 - black_and_white[:, ::-1])
    assert fused.dtype == np.float32
    assert fused.min() >= 0
    assert fused.max() <= 1
    narrow = fuse_luminance(name, 0.4 + noise[0] / 10, 0.4 + noise[1] / 10)
    assert narrow.min() > 0.3
    assert narrow.max() < 0.6


@each_baseline
def test_the_sources_are_left_alone(name: str) -> None:
    a, b = GREY[0].copy(), COLOUR[0].copy()
    fuse_baseline(name, a, b, "IVIF")
    x, y = luminance(a), luminance(b)
    kept = x.copy(), y.copy()
    fuse_luminance(name, x, y)
    assert np.array_equal(a, GREY[0])
    assert np.array_equal(b, COLOUR[0])
    assert np.array_equal((x, y), kept)


def real_crops(folder: Path, count: int) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Luminances of crops of 96×96 from the middle of a task's first val pairs."""
    pairs = []
    for a in sorted((folder / "a").iterdir())[:count]:
        (b,) = (folder / "b").glob(f"{a.stem}.*")
        sources = [luminance(read_image(path)) for path in (a, b)]
        height, width = sources[0].shape
        top, left = (height - 96) // 2, (width - 96) // 2
        first, second = (source[top : top + 96, left : left + 96] for source in sources)
        pairs.append((first, second))
    return pairs


@pytest.mark.parametrize("task", TASKS)
def test_the_pyramid_keeps_more_edges_than_the_average_on_real_pairs(shared_data: Path, task: str) -> None:
    def mean_edges(name: str) -> float:
        pairs = real_crops(shared_data / task / "val", 6)
        scores = [evaluate(fuse_luminance(name, a, b) * 255, a * 255, b * 255, "Qabf")["Qabf"] for a, b in pairs]
        return float(np.nanmean([float(score) for score in scores]))

    assert mean_edges("laplacian") > mean_edges("average") + 0.02


def test_focus_and_guided_keep_more_edges_than_the_average_of_real_focus_pairs(shared_data: Path) -> None:
    pairs = real_crops(shared_data / "MFIF" / "val", 6)

    def mean_edges(name: str) -> float:
        scores = [evaluate(fuse_luminance(name, a, b) * 255, a * 255, b * 255, "Qabf")["Qabf"] for a, b in pairs]
        return float(np.mean([float(score) for score in scores]))

    average = mean_edges("average")
    assert mean_edges("focus") > average + 0.05
    assert mean_edges("guided") > average + 0.05
