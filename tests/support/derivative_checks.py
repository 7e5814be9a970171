"""What the tests of differentiable functions ask of each: value and derivatives against a plain formula's.

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
    """As they are (those that want slopes or not), apart from any graph; all want slopes if none does."""
    every = not any(tensor.requires_grad for tensor in tensors)
    return [tensor.detach().clone().requires_grad_(every or tensor.requires_grad) for tensor in tensors]


def check_value(function: Function, plain: Function, inputs: Tensors) -> None:
    assert_near([_joined(function)(*inputs)], [_joined(plain)(*inputs)])
    with torch.no_grad():
        assert_near([_joined(function)(*inputs)], [_joined(plain)(*inputs)])


def check_backward(function: Function, plain: Function, inputs: Tensors) -> None:
    held = leaves(inputs)
    slope = torch.randn_like(_joined(plain)(*inputs))
    assert_near(*(_slopes([_joined(f)(*held)], held, [slope]) for f in (function, plain)))


def check_double_backward(function: Function, plain: Function, inputs: Tensors) -> None:
    """Also in the slope that is pulled back."""
    held = leaves(inputs)
    slope = torch.randn_like(_joined(plain)(*inputs)).requires_grad_()
    directions = _like([tensor for tensor in held if tensor.requires_grad])

    def second(f: Function) -> list[torch.Tensor]:
        first = _slopes([_joined(f)(*held)], held, [slope], create_graph=True)
        return _slopes(first, [*held, slope], directions)

    assert_near(second(function), second(plain))


def check_change(function: Function, plain: Function, inputs: Tensors) -> None:
    changes = _like(inputs)
    found = jvp(_joined(function), list(inputs), changes)
    assert_near(found, torch.autograd.functional.jvp(_joined(plain), tuple(inputs), tuple(changes)))


def check_vjp_of_jvp(function: Function, plain: Function, inputs: Tensors) -> None:
    """The slopes in inputs and changes from those in the value and in the change."""
    held, changes = leaves(inputs), leaves(_like(inputs))
    found = jvp(_joined(function), held, changes)
    expected = torch.autograd.functional.jvp(_joined(plain), tuple(held), tuple(changes), create_graph=True)
    slopes = _like(expected)
    assert_near(*(_slopes(pair, held + changes, slopes) for pair in (found, expected)))


def check_hessian_product(function: Function, plain: Function, inputs: Tensors) -> None:
    """That of y² by a backward pass through y's change, as training finds it, is that of two backward passes."""
    held = leaves(inputs)
    changes = [torch.randn_like(tensor) * tensor.requires_grad for tensor in held]
    value, change = jvp(_joined(function), held, changes)
    found = _slopes([(2 * value * change).sum()], held)
    first = _slopes([_joined(plain)(*held).square().sum()], held, create_graph=True)
    directions = [change for change, tensor in zip(changes, held, strict=True) if tensor.requires_grad]
    assert_near(found, _slopes(first, held, directions))


CHECKS: tuple[Check, ...] = (
    check_value,
    check_backward,
    check_double_backward,
    check_change,
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


def _slopes(
    outputs: Tensors, inputs: Tensors, slopes: Tensors | None = None, create_graph: bool = False
) -> list[torch.Tensor]:
    """In those inputs that want them; zero where nothing depends on one."""
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    kept = {"retain_graph": True, "create_graph": create_graph, "allow_unused": True, "materialize_grads": True}
    return list(torch.autograd.grad(outputs, wanted, slopes, **kept))
