"""Attention by compiled code against its definition in double precision, for one stream and for several."""

from __future__ import annotations

from collections.abc import Sequence

import plain_layers
import pytest
import torch

from refusion.ops.native.attending_by_rows import Attending, change_of, result_and_change

RELATIVE = 5e-6
CHANNELS, HEADS = 16, 8

pytestmark = [pytest.mark.usefixtures("native"), pytest.mark.parametrize("count", [1, 2, 3])]


def inputs(count: int) -> list[torch.Tensor]:
    """Of each stream the residual, then q, k and v, then the temperature, then the projection; double precision."""
    torch.manual_seed(8)
    maps = (2, 5, 7)
    shapes = [(*maps, CHANNELS), (*maps, 3 * CHANNELS), (HEADS, 1, 1), (CHANNELS, CHANNELS)]
    return [torch.randn(shape, dtype=torch.float64) * 0.5 for shape in shapes for _ in range(count)]


def definition(*given: torch.Tensor) -> torch.Tensor:
    count = len(given) // 4
    return torch.cat(given[:count], dim=3) + torch.cat(plain_layers.attend_among(*given[count:]), dim=3)


def single(given: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Residuals, maps and parameters in single precision."""
    count = len(given) // 4
    narrow = [tensor.detach().float() for tensor in given]
    return narrow[:count], narrow[count : 2 * count], narrow[2 * count :]


def assert_near(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= RELATIVE * other.norm()


def test_result_and_slopes(count: int) -> None:
    given = [tensor.requires_grad_() for tensor in inputs(count)]
    expected = definition(*given)
    x, maps, parameters = single(given)
    attending = Attending.of(maps, parameters)
    assert_near([attending.result(x)], [expected])
    slope = torch.randn_like(expected)
    of_maps, of_parameters = attending.slopes(slope.float())
    assert_near([*of_maps, *of_parameters], torch.autograd.grad(expected, given[count:], slope))


def test_change_and_the_slopes_through_it(count: int) -> None:
    given = [tensor.requires_grad_() for tensor in inputs(count)]
    changes = [torch.randn_like(tensor).requires_grad_() for tensor in given]
    expected = torch.autograd.functional.jvp(definition, tuple(given), tuple(changes), create_graph=True)
    (x, maps, parameters), (dx, moved, dparameters) = single(given), single(changes)
    attending = Attending.of(maps, parameters)
    change = change_of(attending, moved, dparameters)
    assert_near(result_and_change(attending, change, x, dx), expected)
    slopes = [torch.randn_like(one) for one in expected]
    of_maps, of_moved, of_parameters = attending.slopes_through_change(change, *(one.float() for one in slopes))
    wanted = [*given[count : 2 * count], *changes[count : 2 * count], *given[2 * count :]]
    assert_near([*of_maps, *of_moved, *of_parameters], torch.autograd.grad(expected, wanted, slopes))
