"""Fusing in strips against fusing whole pictures at once."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from foreign_networks import Tiny
from torch import nn

from refusion.config.network import Output
from refusion.errors import UserError
from refusion.fuse import fuse_exact, fuse_luminance, fuse_pair, fuse_to_depth, load_pretrained
from refusion.images import colour
from refusion.images.pair_check import check_sources
from refusion.images.pairs import Pair
from refusion.images.store import open_pair, read_pair
from refusion.images.writing import Depth, to_depth, write_image
from refusion.networks import FusionModule, tiled_inference
from refusion.networks.reference import ReferenceFusionModule
from refusion.networks.tiled import row_maps
from refusion.networks.tiled_inference import Tiling
from refusion.tasks import TASKS

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (2, 23, 31), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (2, 23, 31, 3), dtype=np.uint8)
FLAT = RANDOM.integers(90, 96, (2, 23, 31), dtype=np.uint8)
# Coloured in its last rows only.
PARTLY = np.dstack([GREY[0]] * 3)
PARTLY[-2:, :, 0] //= 2
SOURCES: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {
    "grey": (GREY[0], GREY[1]),
    "one coloured": (GREY[0], COLOUR[0]),
    "both coloured": (COLOUR[0], COLOUR[1]),
    "one coloured at its end": (GREY[1], PARTLY),
    "nearly flat": (FLAT[0], FLAT[1]),
}


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in memory but a few rows, and maps are in a file."""
    monkeypatch.setattr(colour, "_PIXELS_AT_ONCE", 100)
    monkeypatch.setattr(row_maps, "MOST_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr(tiled_inference, "_ON_CPU", Tiling(1, 5, 13))


def modules(output: Output = "image") -> dict[str, nn.Module]:
    torch.manual_seed(0)
    module, reference = (
        kind(width=8, heads=2, blocks=1, output=output) for kind in (FusionModule, ReferenceFusionModule)
    )
    reference.load_state_dict(module.state_dict())
    return {"built-in": module.eval(), "reference": reference.eval(), "foreign": Tiny(3).eval()}


@pytest.mark.parametrize(("stretched", "grey"), list(product([True, False], repeat=2)))
@pytest.mark.parametrize("kind", ["built-in", "reference", "foreign"])
@pytest.mark.parametrize("sources", SOURCES)
def test_in_strips_it_is_the_same_picture(
    sources: str, kind: str, stretched: bool, grey: bool, request: pytest.FixtureRequest
) -> None:
    module = modules("mixture")[kind]
    whole = fuse_exact(module, *SOURCES[sources], stretched=stretched, grey=grey)
    request.getfixturevalue("few_rows")
    in_strips = fuse_exact(module, *SOURCES[sources], stretched=stretched, grey=grey)
    # In grey levels; a stretch enlarges what rounding does.
    np.testing.assert_allclose(in_strips, whole, rtol=0, atol=0.02)
    assert in_strips.dtype == np.float32
    # A module's own picture is the reference's.
    if kind == "built-in":
        reference = fuse_exact(modules("mixture")["reference"], *SOURCES[sources], stretched=stretched, grey=grey)
        np.testing.assert_allclose(in_strips, reference, rtol=0, atol=0.02)


@pytest.mark.parametrize("task", list(TASKS))
def test_shipped_modules_fuse_the_same_in_strips(task: str, request: pytest.FixtureRequest) -> None:
    module = load_pretrained(task)
    sources = GREY.astype(np.float32) / 255
    whole = fuse_luminance(module, sources)
    request.getfixturevalue("few_rows")
    np.testing.assert_allclose(fuse_luminance(module, sources), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", [8, 16])
def test_whole_numbers_are_the_rounded_levels(few_rows: None, depth: Depth) -> None:
    module = modules()["built-in"]
    for sources in SOURCES.values():
        expected = to_depth(fuse_exact(module, *sources), depth)
        assert np.array_equal(fuse_to_depth(module, *sources, depth), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_files_are_taken_in_strips(few_rows: None, tmp_path: Path, dtype: npt.DTypeLike) -> None:
    files = tmp_path / "a.png", tmp_path / "b.png"
    top = int(np.iinfo(dtype).max)
    for file, shape in zip(files, ((23, 31), (23, 31, 3)), strict=True):
        write_image(file, RANDOM.integers(0, top + 1, shape).astype(dtype))
    (pair,) = check_sources(*files, "IVIF").pairs
    assert isinstance(pair, Pair)
    for picture, levels in zip(open_pair(pair), read_pair(pair), strict=True):
        assert picture.shape == levels.shape
        assert np.array_equal(picture[3:9], levels[3:9])
        assert np.array_equal(picture[:], levels)
    module = modules()["built-in"]
    assert np.array_equal(fuse_to_depth(module, *open_pair(pair), 8), fuse_pair(module, *read_pair(pair)))


def test_a_full_disk_is_said(few_rows: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(row_maps, "temporary_folder", lambda: tmp_path / "none")
    with pytest.raises(UserError, match=r"needs 0\.0 GB there while it is fused .*TMPDIR"):
        fuse_pair(modules()["built-in"], *GREY)


def test_progress_goes_on_to_the_end(few_rows: None) -> None:
    told: list[tuple[int, int]] = []
    fuse_to_depth(modules()["built-in"], *GREY, 8, progress=lambda done, of: told.append((done, of)))
    assert len(told) > 12
    assert told == sorted(told)
    assert told[-1] == (4 * 23, 4 * 23)
