"""The differentiable way of a hand-written backward pass."""

from __future__ import annotations

import torch
from derivative_checks import assert_near, random

from refusion.ops.twice import differentiable_backward


def test_slopes_can_be_differentiated_once_more() -> None:
    torch.manual_seed(12)
    x, slope = (tensor.requires_grad_() for tensor in random((4,), (4,)))
    with torch.no_grad():
        (first,) = differentiable_backward(lambda given: given**3, [x], [slope])
    assert_near([first], [3 * x**2 * slope])
    assert_near(torch.autograd.grad(first.sum(), [x, slope]), [6 * x * slope, 3 * x**2])


def test_inputs_without_a_graph_and_several_outputs() -> None:
    torch.manual_seed(12)
    x, y, of_product, of_sum = random((4,), (4,), (4,), (4,))
    x.requires_grad_()
    found = differentiable_backward(lambda a, b: (a * b, a + b), [x, y], [of_product, of_sum])
    assert_near(found, [of_product * y + of_sum, of_product * x + of_sum])
    assert not y.requires_grad
