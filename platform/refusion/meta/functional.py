"""Modules as functions of one flat vector of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn


def flatten(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """One vector of all values, detached."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def unflatten(vector: torch.Tensor, module: nn.Module) -> dict[str, torch.Tensor]:
    """The vector as the module's parameters by name: views, so that gradients reach the vector."""
    named = dict(module.named_parameters())
    parts = torch.split(vector, [parameter.numel() for parameter in named.values()])
    return {name: part.view_as(parameter) for (name, parameter), part in zip(named.items(), parts, strict=True)}


def call(module: nn.Module, parameters: torch.Tensor, inputs: torch.Tensor) -> Any:
    """The module's output with the flat vector in the place of its parameters and copies of its buffers."""
    return call_with(module, unflatten(parameters, module), inputs)


def call_with(module: nn.Module, parameters: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> Any:
    """As `call`, the parameters given by name, each that is used in several places once."""
    given = {parameter: parameters[name] for name, parameter in module.named_parameters()}
    # functional_call's own tying leaves its tensors behind in a submodule that has two names.
    everywhere = {
        f"{place}.{name}" if place else name: given[parameter]
        for place, part in module.named_modules()
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False)
    }
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return torch.func.functional_call(module, {**everywhere, **buffers}, (inputs,), tie_weights=False)


def leaf(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's values as the beginning of a graph of its own."""
    return tensor.detach().requires_grad_()
