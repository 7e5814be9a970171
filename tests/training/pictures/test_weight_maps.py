from __future__ import annotations

import numpy as np
import torch

from refusion.objectives import FusionWeights
from refusion.training.pictures.weight_maps import weight_maps


def left_on_b(reach: float) -> torch.Tensor:
    """Weights that lean on b in the left half and on a in the right one, (1, 2, 40, 60)."""
    a = torch.full((40, 60), 0.5 + reach)
    a[:, :30] = 0.5 - reach
    return torch.stack([a, 1 - a])[None]


def redness(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0].astype(int) - picture[..., 2].astype(int)


def test_red_leans_on_a_and_blue_on_b() -> None:
    picture = weight_maps(FusionWeights(left_on_b(0.3), None))
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    red, blue = (np.argwhere(mask)[:, 1].mean() for mask in (redness(picture) > 40, redness(picture) < -40))
    assert blue < red
    assert weight_maps(FusionWeights(left_on_b(-0.3), None)).shape == picture.shape


def test_small_proposals_are_seen_and_none_are_not() -> None:
    assert (np.abs(redness(weight_maps(FusionWeights(left_on_b(0.02), None)))) > 40).mean() > 0.3
    # Only the colour bar is left.
    assert (np.abs(redness(weight_maps(FusionWeights(left_on_b(0.0), None)))) > 40).mean() < 0.1


def test_learned_gradient_weights_get_a_map_of_their_own() -> None:
    one, two = (weight_maps(FusionWeights(left_on_b(0.3), pair)) for pair in (None, left_on_b(0.1)))
    assert two.shape[1] == 2 * one.shape[1]
