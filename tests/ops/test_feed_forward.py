"""The gated feed-forward network against its definition, whole and in some rows; its steps against its reference."""

from __future__ import annotations

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check, assert_near
from fused_op_checks import check_needs_grad, check_steps, feed_forward_inputs

from refusion.ops import gated_feed_forward
from refusion.ops.feed_forward import GatedFeedForward
from refusion.ops.tiling import ALL_ROWS

ROWS = pytest.mark.parametrize("rows", [ALL_ROWS, slice(0, 2), slice(1, 4), slice(3, 5)], ids=str)
NORM = pytest.mark.parametrize("with_norm", [True, False], ids=["norm", "no norm"])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


@NORM
@ROWS
@pytest.mark.parametrize("check", CHECKS)
def test_gated_feed_forward(check: Check, rows: slice, with_norm: bool) -> None:
    op = GatedFeedForward()
    check(
        lambda *given: op.reference(given, rows),
        lambda *given: reference_ops.gated_feed_forward(*given)[:, rows],
        feed_forward_inputs(with_norm=with_norm),
    )


def test_the_function_of_its_arguments() -> None:
    x, weight, bias, *others = feed_forward_inputs()
    found = gated_feed_forward(x, *others, norm=(weight, bias))
    assert_near([found], [reference_ops.gated_feed_forward(x, weight, bias, *others)])
    assert_near([gated_feed_forward(x, *others)], [reference_ops.gated_feed_forward(x, *others)])


@NORM
@ROWS
@pytest.mark.usefixtures("eager_and_inductor")
def test_steps_of_gated_feed_forward(rows: slice, with_norm: bool) -> None:
    check_steps(GatedFeedForward(), feed_forward_inputs(with_norm=with_norm), rows)


@pytest.mark.parametrize("without", [1, 2, 3, 4, 5], ids=["weight", "bias", "pointwise", "depthwise", "projection"])
def test_feed_forward_leaves_out_gradients_that_are_not_needed(without: int) -> None:
    check_needs_grad(GatedFeedForward(), feed_forward_inputs(), without, slice(1, 4))


@pytest.mark.parametrize("without", [1, 2, 3], ids=["pointwise", "depthwise", "projection"])
def test_feed_forward_leaves_them_out_without_norm(without: int) -> None:
    check_needs_grad(GatedFeedForward(), feed_forward_inputs(with_norm=False), without, ALL_ROWS)
