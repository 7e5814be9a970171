"""Checks of operations that run as compiled code: all that others are asked, in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import derivative_checks
import pytest
import torch
from derivative_checks import Check, Function

from refusion.ops.fused_op import FusedOp, run

RELATIVE = 5e-6


def in_single_precision(op: FusedOp[Any]) -> Function:
    """The operation on double-precision inputs and results, computed in single precision between them."""

    def single(*inputs: torch.Tensor) -> torch.Tensor:
        return run(op, [tensor.float() for tensor in inputs]).double()

    return single


def check_native(
    monkeypatch: pytest.MonkeyPatch,
    check: Check,
    op: FusedOp[Any],
    reference: Function,
    inputs: Sequence[torch.Tensor],
) -> None:
    """`check`, as of an operation without compiled code, but for rounding."""
    assert op.native is not None
    assert op.native.serves([tensor.float() for tensor in inputs])
    monkeypatch.setattr(derivative_checks, "RELATIVE", RELATIVE)
    check(in_single_precision(op), reference, inputs)
