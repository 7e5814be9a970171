from __future__ import annotations

import pytest
from step_epoch import batches, pairs_and_swap, settings_of
from step_measuring import Size


@pytest.mark.parametrize(("batch", "pairs", "swap"), [(4, 2, True), (2, 1, True), (1, 1, False), (3, 3, False)])
def test_as_many_images_are_fed_as_the_meta_gradient_gets(batch: int, pairs: int, swap: bool) -> None:
    size = Size(2, batch, 8, 16)
    assert pairs_and_swap(size) == (pairs, swap)
    assert batches(size, 0, 5, 2).shape == (5, 2, pairs, 2, 8, 8)


def test_all_widths_follow_the_option() -> None:
    network = settings_of(Size(1, 4, 96, 8)).network
    assert (network.width, network.reconstruction_width) == (8, 16)
