"""Compiles what stands between convolutions by PyTorch's Inductor: each formula becomes one kernel over the pixels.

Run operation by operation, a formula reads and writes its maps as often as it has operations. Inductor fuses them, by a
C++ compiler or, on a GPU, by Triton. Convolutions and matrix products stay with the libraries.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import SubprocessError

import torch

Tensors = tuple[torch.Tensor, ...]

# One for each number of channels, type and device: a network has far fewer.
_MOST_VARIANTS = 256
_LAUNCHERS = ("ccache", "sccache", "distcc", "icecc")


class Kernel:
    """A formula as one kernel over the pixels, compiled at its first call. It has no derivative; its callers have.

    Called with maps (..., C), which the formula gets as (pixels, C), and with parameters (C). Results that are maps
    come back in the shape of the first argument, the others as they are.
    """

    def __init__(self, formula: Callable[..., Tensors]) -> None:
        self.formula = formula
        self._compiled: Callable[..., Tensors] | None = None

    def __call__(self, *tensors: torch.Tensor) -> Tensors:
        shape = tensors[0].shape[:-1]
        if shape.numel() < 2:  # a size that the compiler would take for a fixed one
            return self.formula(*tensors)
        if self._compiled is None:
            self._compiled = _compiled(self.formula)
        with torch.no_grad():
            results = self._compiled(*(_pixels(tensor) if tensor.ndim > 1 else tensor for tensor in tensors))
        return tuple(result.view(*shape, -1) if result.ndim > 1 else result for result in results)


def why_not(device: torch.device) -> str | None:
    """Tries to compile for the device; returns in one line why it cannot be done, None if it can."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    _name_one_compiler()
    try:
        if device.type == "cpu":
            # What an earlier process compiled and left on disk would hide that the compiler is gone.
            get_cpp_compiler()
        Kernel(_trial)(torch.zeros(2, 4, device=device))
    except (RuntimeError, OSError, ImportError, SubprocessError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0] if lines else type(error).__name__
    return None


def _name_one_compiler() -> None:
    """Names the compiler itself to Inductor where CXX has a launcher before it, since Inductor takes one word."""
    words = shlex.split(os.environ.get("CXX", ""))
    if len(words) > 1:
        from torch._inductor import config

        config.cpp.cxx = (None, next((word for word in words if Path(word).name not in _LAUNCHERS), words[0]))


def _trial(x: torch.Tensor) -> Tensors:
    return (torch.exp(x) * 2,)


def _compiled(formula: Callable[..., Tensors]) -> Callable[..., Tensors]:
    # Here, since this import takes as long as all of PyTorch's.
    from torch import _dynamo, _inductor

    _dynamo.config.recompile_limit = max(_dynamo.config.recompile_limit, _MOST_VARIANTS)
    # Compiled where it is needed: a pool of compiling processes would outlive a worker that is stopped.
    _inductor.config.compile_threads = 1
    _name_one_compiler()
    compiled: Callable[..., Tensors] = torch.compile(formula, fullgraph=True)
    return compiled


def _pixels(maps: torch.Tensor) -> torch.Tensor:
    """View of (..., C) as (pixels, C): one kernel serves all sizes of images, each number of channels has its own."""
    from torch import _dynamo

    # Not `detach`: a view's base would be looked at too, and another kernel compiled for every shape of it.
    flat = maps.flatten(0, -2).data
    _dynamo.mark_dynamic(flat, 0)
    _dynamo.mark_static(flat, 1)
    return flat
