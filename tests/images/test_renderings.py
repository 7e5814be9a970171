from __future__ import annotations

import cv2
import numpy as np
import pytest

from refusion.images import renderings
from refusion.images.colour import has_colour
from refusion.images.renderings import Rendering

SHAPE = (64, 80)
SCENE = cv2.GaussianBlur(np.random.default_rng(2).random((*SHAPE, 3), np.float32), (0, 0), 1.0)
SCENE = ((SCENE - SCENE.min()) / (SCENE.max() - SCENE.min())).astype(np.float32)


def _rng() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(4))


def _detail(image: np.ndarray) -> float:
    return float(np.abs(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F)).mean())


def test_defocus_is_sharp_where_it_is_focused() -> None:
    depth = np.repeat(np.linspace(0, 1, SHAPE[0], dtype=np.float32)[:, None], SHAPE[1], axis=1)
    near, far = renderings.defocus(SCENE, depth)
    top, bottom = slice(0, 16), slice(-16, None)
    assert _detail(near[bottom]) > 3 * _detail(near[top])
    assert _detail(far[top]) > 3 * _detail(far[bottom])
    picture = SCENE * 255
    assert np.abs(near[-3:].astype(float) - picture[-3:]).mean() < 4
    assert np.abs(far[:3].astype(float) - picture[:3]).mean() < 4


def test_defocus_leaves_a_flat_scene_alone() -> None:
    flat = np.full((*SHAPE, 3), 0.5, np.float32)
    depth = np.random.default_rng(0).random(SHAPE, np.float32)
    for image in renderings.defocus(flat, depth):
        assert np.abs(image.astype(int) - 128).max() <= 1


def test_exposures_differ_in_brightness_and_saturate() -> None:
    under, over = renderings.exposure(SCENE, _rng())
    assert under.mean() + 60 < over.mean()
    assert (over == 255).mean() > 0.02
    assert (under == 255).mean() < 0.02
    assert np.corrcoef(under.ravel(), over.ravel())[0, 1] > 0.7


def test_infrared_is_grey_and_visible_is_dark_and_coloured() -> None:
    infrared, visible = renderings.infrared_and_visible(SCENE, _rng())
    assert infrared.shape == SHAPE
    assert has_colour(visible)
    assert visible.mean() < 100 < infrared.max()


def test_bone_is_bright_in_ct_and_dark_in_mri() -> None:
    ct, mri = renderings.ct_and_mri(SCENE, _rng())
    assert ct.shape == mri.shape == SHAPE
    bone = ct > 200
    assert 0.02 < bone.mean() < 0.4
    assert mri[bone].mean() < 60
    middle = slice(24, 40), slice(30, 50)
    assert _detail(mri[middle]) > 2 * _detail(ct[middle])


def test_pet_is_coloured_and_smooth() -> None:
    pet, mri = renderings.pet_and_mri(SCENE, _rng())
    assert has_colour(pet)
    assert mri.shape == SHAPE
    assert _detail(pet[24:40, 30:50]) < _detail(mri[24:40, 30:50])


@pytest.mark.parametrize(
    "rendering",
    [renderings.exposure, renderings.infrared_and_visible, renderings.ct_and_mri, renderings.pet_and_mri],
)
def test_a_generator_in_the_same_state_gives_the_same_pictures(rendering: Rendering) -> None:
    for first, second in zip(rendering(SCENE, _rng()), rendering(SCENE, _rng()), strict=True):
        np.testing.assert_array_equal(first, second)
        assert first.dtype == np.uint8
