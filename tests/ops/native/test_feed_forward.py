"""The gated feed-forward network by compiled code: value and derivatives are those of the definition."""

from __future__ import annotations

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check
from native_checks import check_native

from refusion.ops.feed_forward import GatedFeedForward

pytestmark = pytest.mark.usefixtures("native")


def inputs(with_norm: bool) -> list[torch.Tensor]:
    torch.manual_seed(5)
    norm = ((16,), (16,)) if with_norm else ()
    shapes = [(2, 5, 4, 16), *norm, (64, 16, 1, 1), (64, 1, 3, 3), (16, 32, 1, 1)]
    return [torch.randn(shape, dtype=torch.float64) * 0.4 for shape in shapes]


@pytest.mark.parametrize("with_norm", [True, False], ids=["norm", "no norm"])
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, with_norm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    check_native(monkeypatch, check, GatedFeedForward(), reference_ops.gated_feed_forward, inputs(with_norm))


@pytest.mark.parametrize("check", CHECKS)
def test_gradients_in_maps_alone_and_in_parameters_alone(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    x, *parameters = inputs(True)
    leaves = [one.clone().requires_grad_() for one in parameters]
    for given in ([x.clone().requires_grad_(), *parameters], [x, *leaves]):
        check_native(monkeypatch, check, GatedFeedForward(), reference_ops.gated_feed_forward, given)
