"""What the tests of parts that run as compiled code ask of them: all that is asked of others, in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import derivative_checks
import pytest
import torch
from derivative_checks import Check, Function

from refusion.ops.fused_op import Part, run

RELATIVE = 5e-6


def in_single_precision(part: Part[Any]) -> Function:
    """The part of double-precision inputs and results, computed in single precision between them."""

    def single(*inputs: torch.Tensor) -> torch.Tensor:
        return run(part, [tensor.float() for tensor in inputs]).double()

    return single


def check_compiled(
    monkeypatch: pytest.MonkeyPatch,
    check: Check,
    part: Part[Any],
    plain: Function,
    inputs: Sequence[torch.Tensor],
) -> None:
    """`check`, as of a part without compiled code, but for rounding."""
    assert part.compiled is not None
    assert part.compiled.serves([tensor.float() for tensor in inputs])
    monkeypatch.setattr(derivative_checks, "RELATIVE", RELATIVE)
    check(in_single_precision(part), plain, inputs)
