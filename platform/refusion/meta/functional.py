"""Modules as functions of one flat vector of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

Average = Callable[[torch.Tensor], torch.Tensor]
"""Takes one flat vector of this worker and returns the mean over all workers (a plain all-reduce)."""


def identity(vector: torch.Tensor) -> torch.Tensor:
    """Returns the average over a single worker."""
    return vector


def leaf(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the same values without a history, ready for a gradient."""
    return tensor.detach().requires_grad_()


def flatten(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Returns one vector of all values, detached."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def split(vector: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the vector in the shapes of ``like``: views, so that gradients reach the vector."""
    parts = torch.split(vector, [tensor.numel() for tensor in like])
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]


def call(module: nn.Module, parameters: torch.Tensor, inputs: torch.Tensor) -> Any:
    """Returns the module's output with the flat vector in the place of its parameters and copies of its buffers."""
    named = dict(module.named_parameters())
    return call_with(module, dict(zip(named, split(parameters, list(named.values())), strict=True)), inputs)


def call_with(module: nn.Module, parameters: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> Any:
    """Returns the same with the parameters given by name, each that is used in several places once."""
    given = {parameter: parameters[name] for name, parameter in module.named_parameters()}
    # functional_call's own tying leaves its tensors behind in a submodule that has two names.
    everywhere = {
        f"{place}.{name}" if place else name: given[parameter]
        for place, part in module.named_modules()
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False)
    }
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return torch.func.functional_call(module, {**everywhere, **buffers}, (inputs,), tie_weights=False)
