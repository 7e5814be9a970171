from __future__ import annotations

import numpy as np
import pytest
import torch

import refusion
from refusion.errors import UserError
from refusion.fuse import fuse_exact, fuse_luminance
from refusion.images.colour import luminance, stretch_exact
from refusion.networks import FusionModule
from refusion.stacks import check_count, fuse_stack, fuse_stack_exact, tree_of

RNG = np.random.default_rng(2)
STACK = [np.clip(RNG.integers(0, 120, (24, 30, 3)) + low, 0, 255).astype(np.uint8) for low in (60, 0, 100, 130, 30)]
DARK_TO_BRIGHT = [STACK[1], STACK[4], STACK[0], STACK[2], STACK[3]]


@pytest.fixture(scope="module")
def module() -> FusionModule:
    torch.manual_seed(0)
    return FusionModule(width=8, blocks=1)


@pytest.mark.parametrize("task", ["MEIF", "MFIF", "IVIF"])
def test_two_sources_are_a_pair(module: FusionModule, task: str) -> None:
    dark, bright = DARK_TO_BRIGHT[0], DARK_TO_BRIGHT[-1][..., 0]
    for options in ({}, {"stretched": False}, {"grey": True}):
        stack, pair = (
            fuse_stack_exact(module, [dark, bright], task, **options),
            fuse_exact(module, dark, bright, **options),
        )
        np.testing.assert_allclose(stack, pair, atol=1e-3)


def test_exposures_are_sorted_and_planes_of_focus_are_not(module: FusionModule) -> None:
    assert np.array_equal(fuse_stack(module, STACK[:3], "MEIF"), fuse_stack(module, STACK[2::-1], "meif"))
    assert not np.array_equal(fuse_stack(module, STACK[:3], "MFIF"), fuse_stack(module, STACK[2::-1], "MFIF"))


def test_the_luminance_goes_along_the_tree_without_rounding(module: FusionModule) -> None:
    def fuse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return fuse_luminance(module, np.stack([a, b]))

    one, two, three, four, five = map(luminance, DARK_TO_BRIGHT)
    assert tree_of("MEIF", 5) == (((0, 4), (1, 3)), 2)
    expected = stretch_exact(fuse(fuse(fuse(one, five), fuse(two, four)), three))
    np.testing.assert_allclose(fuse_stack_exact(module, STACK, "MEIF", grey=True), expected, atol=1e-4)
    first, second, third = map(luminance, STACK[:3])
    expected = fuse(fuse(first, second), third) * 255
    given = fuse_stack_exact(module, STACK[:3], "MFIF", grey=True, stretched=False)
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_the_api(module: FusionModule) -> None:
    fused = refusion.fuse_stack(module, (picture.astype(np.float64) for picture in STACK), "MEIF")
    assert (fused.dtype, fused.shape) == (np.uint8, (24, 30, 3))
    assert fuse_stack(module, [picture[..., 0] for picture in STACK], "MFIF").shape == (24, 30)


def test_a_nearly_flat_stack_stays_nearly_flat(module: FusionModule) -> None:
    stack = [RNG.integers(90 + n, 94 + n, (24, 30)).astype(np.uint8) for n in range(3)]
    fused = fuse_stack(module, stack, "MFIF")
    assert 90 <= fused.min() <= fused.max() <= 95


def test_what_is_no_stack_is_refused(module: FusionModule) -> None:
    with pytest.raises(UserError, match="MIF fuses two sources, CT, PET or SPECT and MRI, but 3 are named"):
        fuse_stack(module, STACK[:3], "MIF")
    with pytest.raises(UserError, match="MEIF fuses two sources or more, but 1 is named"):
        fuse_stack(module, STACK[:1], "MEIF")
    with pytest.raises(UserError, match="must be of one size, but are 30×24 and 30×23 pixels"):
        fuse_stack(module, [*STACK, STACK[0][1:]], "MEIF")
    check_count("IVIF", 2)
