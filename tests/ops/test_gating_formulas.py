"""The formulas of the gates against the plain definition, differentiated by autograd."""

from __future__ import annotations

import plain_layers
import torch
from derivative_checks import assert_near, leaves, random

from refusion.ops import gating_formulas as formulas


def test_product_and_slope() -> None:
    (both,) = leaves(random((7, 8)))
    product = plain_layers.gated(both)
    (slope,) = random(product.shape)
    assert_near(formulas.product(both), [product])
    assert_near(formulas.slope(slope, both), torch.autograd.grad(product, both, slope))


def test_change_and_its_slopes() -> None:
    both, dboth = leaves(random((7, 8), (7, 8)))
    product, moved = torch.autograd.functional.jvp(plain_layers.gated, both, dboth, create_graph=True)
    (slope,) = random(moved.shape)
    assert_near(formulas.change(both, dboth), [product, moved])
    assert_near(formulas.slopes_of_change(slope, both, dboth), torch.autograd.grad(moved, [both, dboth], slope))
