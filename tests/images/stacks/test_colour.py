from __future__ import annotations

import numpy as np
import pytest

from refusion.images.colour import restore_colour_exact
from refusion.images.stacks.colour import ChromaOfStack

RNG = np.random.default_rng(1)
Y = RNG.uniform(0, 255, (9, 12)).astype(np.float32)
GREY, EQUAL = RNG.uniform(0, 255, (9, 12)), np.repeat(RNG.uniform(0, 255, (9, 12, 1)), 3, axis=2)
RED, BLUE, GREEN = RNG.uniform(0, 255, (3, 9, 12, 3)).astype(np.float32)


def _restored(*sources: np.ndarray) -> np.ndarray:
    stack = ChromaOfStack()
    for source in sources:
        stack.add(source)
    return stack.restored(Y)


@pytest.mark.parametrize("pair", [(GREY, GREY), (GREY, RED), (RED, GREY), (RED, BLUE), (EQUAL, BLUE), (EQUAL, GREY)])
def test_two_sources_have_the_colour_of_a_pair(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert np.array_equal(_restored(*pair), restore_colour_exact(Y, *pair))


def test_grey_sources_have_no_say_and_the_order_does_not_matter() -> None:
    assert np.array_equal(_restored(GREY, RED, EQUAL, BLUE), _restored(RED, BLUE))
    np.testing.assert_allclose(_restored(RED, BLUE, GREEN), _restored(GREEN, RED, BLUE), atol=1e-3)
    assert not np.allclose(_restored(RED, BLUE, GREEN), _restored(RED, BLUE), atol=1)


def test_a_vivid_source_outweighs_pale_ones() -> None:
    vivid, pale = np.full((1, 1, 3), (220.0, 40, 40)), np.full((1, 1, 3), (128.0, 132, 128))
    y = np.full((1, 1), 100, np.float32)
    stack = ChromaOfStack()
    for source in (pale, pale, vivid, pale):
        stack.add(source)
    red, green, _ = stack.restored(y)[0, 0]
    assert red - green > 0.8 * 180
