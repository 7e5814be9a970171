"""The gated feed-forward part by compiled code: value and derivatives are those of the definition."""

from __future__ import annotations

import plain_layers
import pytest
import torch
from by_rows_checks import check_compiled
from derivative_checks import CHECKS, Check

from refusion.ops.feed_forward import FeedForward

pytestmark = pytest.mark.usefixtures("native")


def inputs(with_norm: bool) -> list[torch.Tensor]:
    torch.manual_seed(5)
    norm = ((16,), (16,)) if with_norm else ()
    shapes = [(2, 5, 4, 16), *norm, (64, 16, 1, 1), (64, 1, 3, 3), (16, 32, 1, 1)]
    return [torch.randn(shape, dtype=torch.float64) * 0.4 for shape in shapes]


@pytest.mark.parametrize("with_norm", [True, False], ids=["norm", "no norm"])
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, with_norm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    check_compiled(monkeypatch, check, FeedForward(), plain_layers.feed_forward, inputs(with_norm))


@pytest.mark.parametrize("check", CHECKS)
def test_slopes_in_maps_alone_and_in_parameters_alone(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    x, *parameters = inputs(True)
    leaves = [one.clone().requires_grad_() for one in parameters]
    for given in ([x.clone().requires_grad_(), *parameters], [x, *leaves]):
        check_compiled(monkeypatch, check, FeedForward(), plain_layers.feed_forward, given)
