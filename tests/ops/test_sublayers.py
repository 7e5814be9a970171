"""Attention with its residual: the parts against their definitions, and their steps against the parts."""

from __future__ import annotations

import plain_layers
import pytest
import torch
from derivative_checks import CHECKS, Check
from part_checks import check_steps, check_unwanted, cross_attention_inputs, self_attention_inputs

from refusion.ops.fused_op import ALL_ROWS
from refusion.ops.sublayers import CrossAttention, SelfAttention


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(6)


@pytest.mark.parametrize("check", CHECKS)
def test_self_attention(check: Check) -> None:
    part = SelfAttention()
    check(lambda *given: part(given, ALL_ROWS), plain_layers.self_attention, self_attention_inputs())


@pytest.mark.parametrize("check", CHECKS)
def test_cross_attention(check: Check) -> None:
    part = CrossAttention()
    check(lambda *given: part(given, ALL_ROWS), plain_layers.cross_attention, cross_attention_inputs())


@pytest.mark.usefixtures("loops")
def test_steps_of_self_attention() -> None:
    check_steps(SelfAttention(), self_attention_inputs(), ALL_ROWS)


@pytest.mark.usefixtures("loops")
def test_steps_of_cross_attention() -> None:
    check_steps(CrossAttention(), cross_attention_inputs(), ALL_ROWS)


@pytest.mark.parametrize("unwanted", [1, 2, 3, 4], ids=["weight", "bias", "widen", "kernels"])
def test_self_attention_leaves_out_unwanted_slopes(unwanted: int) -> None:
    check_unwanted(SelfAttention(), self_attention_inputs(), unwanted, ALL_ROWS)


@pytest.mark.parametrize("unwanted", [2, 3, 4, 5], ids=["widen1", "kernels1", "widen2", "kernels2"])
def test_cross_attention_leaves_out_unwanted_slopes(unwanted: int) -> None:
    check_unwanted(CrossAttention(), cross_attention_inputs(), unwanted, ALL_ROWS)
