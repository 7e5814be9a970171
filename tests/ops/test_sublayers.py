"""The sublayers against their definitions, whole and in some rows, and their steps against their reference."""

from __future__ import annotations

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check, assert_near
from fused_op_checks import (
    channel_attention_inputs,
    check_needs_grad,
    check_steps,
    cross_attention_inputs,
)

from refusion.ops import channel_attention, channel_cross_attention
from refusion.ops.sublayers import ChannelAttention, CrossAttention
from refusion.ops.tiling import ALL_ROWS


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(6)


@pytest.mark.parametrize("check", CHECKS)
def test_channel_attention(check: Check) -> None:
    op = ChannelAttention()
    check(lambda *given: op.reference(given, ALL_ROWS), reference_ops.channel_attention, channel_attention_inputs())


@pytest.mark.parametrize("check", CHECKS)
def test_cross_attention(check: Check) -> None:
    op = CrossAttention()
    check(lambda *given: op.reference(given, ALL_ROWS), reference_ops.cross_attention, cross_attention_inputs())


def test_the_functions_of_their_arguments() -> None:
    x, weight, bias, *others = channel_attention_inputs()
    assert_near(
        [channel_attention(x, (weight, bias), *others)], [reference_ops.channel_attention(x, weight, bias, *others)]
    )
    x1, x2, *others = cross_attention_inputs()
    found = channel_cross_attention(x1, x2, others[:2], others[2:4], others[4:6], others[6:])
    assert_near([found], [reference_ops.cross_attention(x1, x2, *others)])


@pytest.mark.usefixtures("eager_and_inductor")
def test_steps_of_channel_attention() -> None:
    check_steps(ChannelAttention(), channel_attention_inputs(), ALL_ROWS)


@pytest.mark.usefixtures("eager_and_inductor")
def test_steps_of_cross_attention() -> None:
    check_steps(CrossAttention(), cross_attention_inputs(), ALL_ROWS)


@pytest.mark.parametrize("without", [1, 2, 3, 4], ids=["weight", "bias", "pointwise", "depthwise"])
def test_channel_attention_leaves_out_gradients_that_are_not_needed(without: int) -> None:
    check_needs_grad(ChannelAttention(), channel_attention_inputs(), without, ALL_ROWS)


@pytest.mark.parametrize("without", [2, 3, 4, 5], ids=["pointwise1", "depthwise1", "pointwise2", "depthwise2"])
def test_cross_attention_leaves_out_gradients_that_are_not_needed(without: int) -> None:
    check_needs_grad(CrossAttention(), cross_attention_inputs(), without, ALL_ROWS)
