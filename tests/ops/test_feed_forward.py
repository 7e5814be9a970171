"""The gated feed-forward part against its definition, whole and in some rows, and its steps against itself."""

from __future__ import annotations

import plain_layers
import pytest
import torch
from derivative_checks import CHECKS, Check
from part_checks import check_steps, check_unwanted, feed_forward_inputs

from refusion.ops.feed_forward import FeedForward
from refusion.ops.fused_op import ALL_ROWS

ROWS = pytest.mark.parametrize("rows", [ALL_ROWS, slice(0, 2), slice(1, 4), slice(3, 5)], ids=str)
NORM = pytest.mark.parametrize("with_norm", [True, False], ids=["norm", "no norm"])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


@NORM
@ROWS
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, rows: slice, with_norm: bool) -> None:
    part = FeedForward()
    check(
        lambda *given: part(given, rows),
        lambda *given: plain_layers.feed_forward(*given)[:, rows],
        feed_forward_inputs(with_norm=with_norm),
    )


@NORM
@ROWS
@pytest.mark.usefixtures("loops")
def test_steps(rows: slice, with_norm: bool) -> None:
    check_steps(FeedForward(), feed_forward_inputs(with_norm=with_norm), rows)


@pytest.mark.parametrize("unwanted", [1, 2, 3, 4, 5], ids=["weight", "bias", "widen", "kernels", "project"])
def test_unwanted_slopes_are_left_out(unwanted: int) -> None:
    check_unwanted(FeedForward(), feed_forward_inputs(), unwanted, slice(1, 4))


@pytest.mark.parametrize("unwanted", [1, 2, 3], ids=["widen", "kernels", "project"])
def test_unwanted_slopes_are_left_out_without_norm(unwanted: int) -> None:
    check_unwanted(FeedForward(), feed_forward_inputs(with_norm=False), unwanted, ALL_ROWS)
