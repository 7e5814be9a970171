"""Checks of differentiable functions: value and derivatives against a reference formula's.

The formula's derivatives are all found backward, which no forward-mode rule of PyTorch's enters into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from refusion.ops.autodiff import jvp

Tensors = Sequence[torch.Tensor]
Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]
Check = Callable[[Function, Function, Tensors], None]

RELATIVE = 1e-10


def random(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Normally distributed float64 tensors."""
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


def assert_near(found: Sequence[torch.Tensor | None], expected: Sequence[torch.Tensor | None]) -> None:
    """Each of the tensors differs from what is expected by no more than rounding; None stands for none."""
    for position, (one, other) in enumerate(zip(found, expected, strict=True)):
        if other is None or one is None:
            assert one is other, f"tensor {position}"
            continue
        assert one.shape == other.shape, f"tensor {position}"
        difference, size = (one - other).norm().item(), other.norm().item()
        assert difference <= RELATIVE * size + 1e-12, f"tensor {position}: {difference:.2e} of {size:.2e}"


def leaves(tensors: Tensors) -> list[torch.Tensor]:
    """The tensors apart from any graph, those as leaves that need gradients; all of them if none does."""
    every = not any(tensor.requires_grad for tensor in tensors)
    return [tensor.detach().clone().requires_grad_(every or tensor.requires_grad) for tensor in tensors]


def check_value(function: Function, reference: Function, inputs: Tensors) -> None:
    assert_near([_joined(function)(*inputs)], [_joined(reference)(*inputs)])
    with torch.no_grad():
        assert_near([_joined(function)(*inputs)], [_joined(reference)(*inputs)])


def check_vjp(function: Function, reference: Function, inputs: Tensors) -> None:
    held = leaves(inputs)
    grad = torch.randn_like(_joined(reference)(*inputs))
    assert_near(*(_grads([_joined(f)(*held)], held, [grad]) for f in (function, reference)))


def check_double_vjp(function: Function, reference: Function, inputs: Tensors) -> None:
    """Derivatives of the vjp, also in the gradient that it takes."""
    held = leaves(inputs)
    grad = torch.randn_like(_joined(reference)(*inputs)).requires_grad_()
    directions = _like([tensor for tensor in held if tensor.requires_grad])

    def second(f: Function) -> list[torch.Tensor]:
        first = _grads([_joined(f)(*held)], held, [grad], create_graph=True)
        return _grads(first, [*held, grad], directions)

    assert_near(second(function), second(reference))


def check_jvp(function: Function, reference: Function, inputs: Tensors) -> None:
    tangents = _like(inputs)
    found = jvp(_joined(function), list(inputs), tangents)
    assert_near(found, torch.autograd.functional.jvp(_joined(reference), tuple(inputs), tuple(tangents)))


def check_vjp_of_jvp(function: Function, reference: Function, inputs: Tensors) -> None:
    """Gradients in inputs and tangents from those in the value and in its tangent."""
    held, tangents = leaves(inputs), leaves(_like(inputs))
    found = jvp(_joined(function), held, tangents)
    expected = torch.autograd.functional.jvp(_joined(reference), tuple(held), tuple(tangents), create_graph=True)
    grads = _like(expected)
    assert_near(*(_grads(pair, held + tangents, grads) for pair in (found, expected)))


def check_hessian_product(function: Function, reference: Function, inputs: Tensors) -> None:
    """A backward pass through y's tangent, as training does it, gives y²'s Hessian product by two backward passes."""
    held = leaves(inputs)
    tangents = [torch.randn_like(tensor) * tensor.requires_grad for tensor in held]
    value, tangent = jvp(_joined(function), held, tangents)
    found = _grads([(2 * value * tangent).sum()], held)
    first = _grads([_joined(reference)(*held).square().sum()], held, create_graph=True)
    directions = [tangent for tangent, tensor in zip(tangents, held, strict=True) if tensor.requires_grad]
    assert_near(found, _grads(first, held, directions))


CHECKS: tuple[Check, ...] = (
    check_value,
    check_vjp,
    check_double_vjp,
    check_jvp,
    check_vjp_of_jvp,
    check_hessian_product,
)


def _joined(function: Function) -> Callable[..., torch.Tensor]:
    """All results of the function in one vector."""

    def joined(*inputs: torch.Tensor) -> torch.Tensor:
        results = function(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        return torch.cat([result.flatten() for result in results])

    return joined


def _like(tensors: Tensors) -> list[torch.Tensor]:
    return [torch.randn_like(tensor, requires_grad=False) for tensor in tensors]


def _grads(
    outputs: Tensors, inputs: Tensors, grads: Tensors | None = None, create_graph: bool = False
) -> list[torch.Tensor]:
    """Gradients in the inputs that need them; zero where nothing depends on one."""
    needing = [tensor for tensor in inputs if tensor.requires_grad]
    options = {"retain_graph": True, "create_graph": create_graph, "allow_unused": True, "materialize_grads": True}
    return list(torch.autograd.grad(outputs, needing, grads, **options))
