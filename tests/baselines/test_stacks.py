from __future__ import annotations

import numpy as np
import pytest

from refusion.baselines import BASELINES, fuse_luminance
from refusion.baselines.stacks import fuse_stack_luminance
from refusion.errors import UserError

PLANES = list(np.random.default_rng(0).uniform(0, 1, (4, 24, 32)).astype(np.float32))


@pytest.mark.parametrize("name", BASELINES)
def test_two_sources_are_fused_as_a_pair(name: str) -> None:
    fused = fuse_stack_luminance(name, PLANES[:2], (0, 1))
    np.testing.assert_allclose(fused, fuse_luminance(name, *PLANES[:2]), atol=1e-6)


@pytest.mark.parametrize("name", ["average", "max", "mertens"])
def test_those_that_take_all_at_once_do_not_depend_on_the_order(name: str) -> None:
    fused = fuse_stack_luminance(name, PLANES, (((0, 1), 2), 3))
    np.testing.assert_allclose(fused, fuse_stack_luminance(name, PLANES[::-1], ((0, 1), (2, 3))), atol=1e-5)
    assert np.abs(fused - fuse_luminance(name, *PLANES[:2])).max() > 0.05


def test_the_others_go_along_the_tree() -> None:
    halves = [fuse_luminance("laplacian", *PLANES[:2]), fuse_luminance("laplacian", *PLANES[2:])]
    assert np.array_equal(
        fuse_stack_luminance("Laplacian", PLANES, ((0, 1), (2, 3))), fuse_luminance("laplacian", *halves)
    )
    with pytest.raises(UserError, match="there is no baseline 'none'"):
        fuse_stack_luminance("none", PLANES, (0, 1))
