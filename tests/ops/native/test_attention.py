"""Attention whose maps are made by compiled code: value and derivatives are those of the definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plain_layers
import pytest
import torch
from by_rows_checks import check_compiled
from derivative_checks import CHECKS, Check, Function

from refusion.ops.fused_op import Part
from refusion.ops.sublayers import CrossAttention, SelfAttention

pytestmark = pytest.mark.usefixtures("native")

X, CONVOLUTIONS, HEADS, PROJECTION = (2, 5, 4, 16), ((48, 16, 1, 1), (48, 1, 3, 3)), (8, 1, 1), (16, 16)


def inputs(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    torch.manual_seed(9)
    return [torch.randn(shape, dtype=torch.float64) * 0.4 for shape in shapes]


def of_one() -> list[torch.Tensor]:
    return inputs(X, (16,), (16,), *CONVOLUTIONS, HEADS, PROJECTION)


def of_two() -> list[torch.Tensor]:
    return inputs(X, X, *CONVOLUTIONS, *CONVOLUTIONS, HEADS, HEADS, PROJECTION, PROJECTION)


PARTS: dict[str, tuple[Part[Any], Function, Callable[[], list[torch.Tensor]]]] = {
    "self-attention": (SelfAttention(), plain_layers.self_attention, of_one),
    "cross-attention": (CrossAttention(), plain_layers.cross_attention, of_two),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part, plain, make = PARTS[name]
    check_compiled(monkeypatch, check, part, plain, make())


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("check", CHECKS)
def test_slopes_in_maps_alone(check: Check, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part, plain, make = PARTS[name]
    given = make()
    maps = [tensor.requires_grad_() for tensor in given[: part.maps]]
    check_compiled(monkeypatch, check, part, plain, [*maps, *given[part.maps :]])
