"""A record of a step on the CPU that is replayed as a CUDA graph is: the same operations on the same memory.

Whatever a graph could not hold is refused as there: a value that the host reads, a tensor made of the host's numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import refusion.meta.adam
import refusion.meta.phases
from refusion.training.cuda_graphs import Call

T = TypeVar("T")
aten = torch.ops.aten

# On a GPU each of them waits, or copies from the host.
WAITS = {
    aten._local_scalar_dense.default,
    aten.is_nonzero.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.lift_fresh.default,
    aten.lift_fresh_copy.default,
    aten._pin_memory.default,
}


class WaitedError(RuntimeError):
    """Call of an operation that a graph cannot hold."""


class _Listening(TorchDispatchMode):
    def __init__(self, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls
        self.written: list[tuple[torch.Tensor, torch.Tensor]] = []

    @torch.no_grad()
    def put_back(self) -> None:
        """Undoes what was written: a capture does nothing yet."""
        for tensor, before in reversed(self.written):
            tensor.copy_(before)
        self.written.clear()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func in WAITS or (func is aten.index.Tensor and any(_is_mask(one) for one in args[1])):
            raise WaitedError(f"{func} cannot be captured")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.written += [(one, one.clone()) for one in (value if isinstance(value, list) else [value])]
        self.written += [(one, one.clone()) for name, one in kwargs.items() if name == "out"]
        found = func(*args, **kwargs)
        self.calls.append(_Again(func, args, kwargs, found))
        return found


def _is_mask(index: torch.Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


class _Again:
    """One operation, to be done again into the memory of its first result."""

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.found = found if isinstance(found, list | tuple) else [found]
        # Results that are views, or arguments that were written to, are where they were.
        self.fills = not any(alias.alias_info for alias in func._schema.returns)

    def __call__(self) -> None:
        if not self.fills and not self._writes():
            return
        found = self.func(*self.args, **self.kwargs)
        if self.fills:
            for mine, new in zip(self.found, found if isinstance(found, list | tuple) else [found], strict=True):
                if isinstance(mine, torch.Tensor) and not mine._is_zerotensor():
                    mine.copy_(new)

    def _writes(self) -> bool:
        return any(argument.alias_info and argument.alias_info.is_write for argument in self.func._schema.arguments)


class DryRun:
    """A ``Recording`` on the CPU. ``operations`` are those of the record."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._mode = _Listening(self.calls)
        self.cuts = 0

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        yield

    def record(self, step: Callable[[], T]) -> T:
        try:
            with self._mode:
                return step()
        finally:
            self._mode.put_back()

    def apart(self, call: Call) -> None:
        # As in a capture, it is not called now.
        self.calls.append(call)
        self.cuts += 1

    @torch.no_grad()
    def replay(self) -> None:
        for call in self.calls:
            call()

    @property
    def operations(self) -> list[str]:
        return [str(call.func) for call in self.calls if isinstance(call, _Again)]


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets Adams of the CPU be what those of a GPU are: their rates and counts are tensors."""
    # torch.optim hides its modules behind their classes.
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_get_capturable_supported_devices", lambda: ["cpu"])
    for module in (refusion.meta.adam, refusion.meta.phases):
        monkeypatch.setattr(module, "can_be_captured", lambda _: True)
