from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

from refusion.errors import UserError
from refusion.images.colour import luminance
from refusion.images.stacks.builtin import builtin_stacks


def test_exposures_rise_and_the_radiance_is_finer_than_each() -> None:
    for stack in islice(builtin_stacks("MEIF", 4), 2):
        planes = [luminance(source) for source in stack.sources]
        assert len(planes) == 4
        assert all(dark.mean() < bright.mean() for dark, bright in pairwise(planes))
        assert stack.truth.shape == planes[0].shape
        # No exposure shows as many stops.
        assert len(np.unique(stack.truth)) > 200
        assert all(np.corrcoef(stack.truth.ravel(), plane.ravel())[0, 1] > 0.5 for plane in planes)


def test_each_plane_of_focus_is_the_sharpest_somewhere() -> None:
    stack = next(builtin_stacks("MFIF", 3))
    errors = np.stack([np.abs(luminance(source) * 255 - stack.truth) for source in stack.sources])
    blocks = errors[:, : errors.shape[1] // 16 * 16, : errors.shape[2] // 16 * 16]
    means = blocks.reshape(3, blocks.shape[1] // 16, 16, blocks.shape[2] // 16, 16).mean((2, 4))
    shares = np.bincount(means.argmin(0).ravel(), minlength=3) / means[0].size
    assert shares.min() > 0.05


def test_the_same_every_time_and_grey_scenes_stay_grey() -> None:
    first, again = (list(islice(builtin_stacks("MFIF", 2), 5)) for _ in range(2))
    assert all(
        np.array_equal(a, b)
        for x, y in zip(first, again, strict=True)
        for a, b in zip(x.sources, y.sources, strict=True)
    )
    assert {stack.name: stack.sources[0].ndim for stack in first}["04_coins"] == 2


def test_other_tasks_have_no_stacks() -> None:
    with pytest.raises(UserError, match="there are no builtin stacks of IVIF: choose MEIF or MFIF"):
        next(builtin_stacks("IVIF", 3))
