"""The formulas of the channel norm against the plain definition, differentiated by autograd."""

from __future__ import annotations

import plain_layers
import torch
from derivative_checks import assert_near, leaves, random

from refusion.ops import normalisation_formulas as formulas


def test_norm() -> None:
    given = random((7, 8), (8,), (8,))
    out, mean, rstd = formulas.norm(*given)
    assert_near([out], [plain_layers.norm(*given)])
    assert_near([mean, rstd], [given[0].mean(1, True), (given[0].var(1, correction=0, keepdim=True) + 1e-5).rsqrt()])


def test_change_and_its_slopes() -> None:
    held, changes = leaves(random((7, 8), (8,), (8,))), leaves(random((7, 8), (8,), (8,)))
    _, moved = torch.autograd.functional.jvp(plain_layers.norm, tuple(held), tuple(changes), create_graph=True)
    (slope,) = random(moved.shape)
    x, weight, bias = held
    _, mean, rstd = formulas.norm(x, weight, bias)
    assert_near(formulas.change(x, weight, mean, rstd, *changes), [moved])
    found = formulas.slopes_of_change(slope, x, weight, mean, rstd, *changes[:2])
    assert_near(found, torch.autograd.grad(moved, [x, weight, *changes], slope))
