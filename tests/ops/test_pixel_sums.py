"""The Gram matrix in parts, as a GPU computes it, against one product."""

from __future__ import annotations

import pytest
import torch

from refusion.ops.pixel_sums import gram, gram_in_parts


@pytest.mark.parametrize("pixels", [5, 128, 300, 1024, 1111])
def test_parts_add_up_to_the_whole(pixels: int) -> None:
    torch.manual_seed(1)
    # Views of a wider tensor, as q and k are.
    q, k, _ = torch.randn(2, pixels, 24, dtype=torch.float64).chunk(3, dim=2)
    torch.testing.assert_close(gram_in_parts(q, k), gram(q, k), rtol=1e-12, atol=1e-12)
