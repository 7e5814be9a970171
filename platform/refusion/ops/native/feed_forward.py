"""The gated feed-forward network with its residual as compiled code; it saves nothing for its backward passes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from refusion.ops.fused_op import FusedOp, Grads, Reference, Tensors
from refusion.ops.native.depthwise import SeparableConv


class NativeFeedForward(FusedOp[None]):
    """`feed_forward.GatedFeedForward` of the same inputs, on whole images."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def serves(self, inputs: Tensors) -> bool:
        return SeparableConv.gated(inputs).is_served()

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        return self._reference(inputs, rows)

    def save(self, inputs: Tensors, rows: slice) -> None:
        return None

    def value(self, inputs: Tensors, rows: slice, saved: None) -> torch.Tensor:
        return SeparableConv.gated(inputs).value()

    def vjp(self, inputs: Tensors, rows: slice, saved: None, grad: torch.Tensor, needs_grad: Sequence[bool]) -> Grads:
        return SeparableConv.gated(inputs).vjp(grad, any(needs_grad[1:]))

    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        return SeparableConv.gated(inputs).jvp(SeparableConv.gated(tangents))

    def vjp_of_jvp(
        self, inputs: Tensors, tangents: Tensors, rows: slice, grads: Tensors, needs_grad: Sequence[bool]
    ) -> Grads:
        parameters = len(inputs) - 1
        grad, grad_of_tangent = grads
        in_inputs, grad_dx = SeparableConv.gated(inputs).vjp_of_jvp(
            SeparableConv.gated(tangents), grad, grad_of_tangent, any(needs_grad[1 : 1 + parameters])
        )
        return [*in_inputs, grad_dx, *[None] * parameters]
