"""Kernels run on a GPU, or on the CPU by Triton's interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of kernels by its name."""
    monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
    pytest.importorskip("triton")
    torch.manual_seed(11)
    return lambda name: import_module(f"refusion.ops.kernels.{name}")


@pytest.fixture
def draw() -> Callable[..., list[torch.Tensor]]:
    """Draws float32 tensors of the given shapes."""
    return lambda *shapes: [torch.randn(shape).to(DEVICE) for shape in shapes]


@pytest.fixture
def near() -> Callable[[torch.Tensor | None, torch.Tensor], None]:
    """Compares a float32 tensor with the exact one, relative to the largest number of that."""

    def compare(found: torch.Tensor | None, expected: torch.Tensor) -> None:
        assert found is not None
        assert found.shape == expected.shape
        assert float((found.double() - expected).abs().max()) <= 3e-6 * float(expected.abs().max())

    return compare
