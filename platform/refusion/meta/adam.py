"""Adam whose rate is given anew for every step, by a number or, within a CUDA graph, by a tensor."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

Number = float | Tensor


def as_factor(rate: Number, like: Tensor) -> Number:
    """Returns a rate that multiplies or divides tensors of no dimension without changing their type."""
    return rate.to(like.dtype) if isinstance(rate, Tensor) else rate


def can_be_captured(device: torch.device) -> bool:
    """Tells whether Adam's steps can be part of a CUDA graph there."""
    return device.type == "cuda"


class PlainAdam(torch.optim.Adam):
    """Adam without what keeps PyTorch's compiler off it, which each process would take two seconds to import."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)


def rated_adam(parameters: Iterable[torch.nn.Parameter], eps: float = 1e-8) -> torch.optim.Adam:
    """Returns Adam over the parameters; on a GPU one whose steps can be captured. `set_rate` comes before each step."""
    given = list(parameters)
    device = given[0].device
    if can_be_captured(device):
        return PlainAdam(given, lr=torch.ones((), device=device), eps=eps, capturable=True)
    return PlainAdam(given, lr=1.0, eps=eps)


def set_rate(adam: torch.optim.Adam, rate: Number) -> None:
    """Sets the rate of the next step, without waiting for the device."""
    for group in adam.param_groups:
        if not isinstance(group["lr"], Tensor):
            group["lr"] = rate
        elif isinstance(rate, Tensor):
            group["lr"].copy_(rate)
        else:
            group["lr"].fill_(rate)


def load_adam(adam: torch.optim.Adam, state: dict[str, Any]) -> None:
    """Continues from the ``state_dict()`` of an Adam on this or another kind of device."""
    own = [{name: group[name] for name in ("lr", "capturable", "foreach", "fused")} for group in adam.param_groups]
    adam.load_state_dict(state)
    for group, saved in zip(adam.param_groups, own, strict=True):
        rate = group["lr"]
        group |= saved
        if isinstance(saved["lr"], Tensor):
            saved["lr"].copy_(torch.as_tensor(rate))
        else:
            group["lr"] = float(rate)
        for parameter in group["params"]:
            values = adam.state.get(parameter, {})
            if "step" in values:
                values["step"] = values["step"].to(parameter.device if saved["capturable"] else "cpu")


def snapshot(adam: torch.optim.Adam) -> list[dict[str, Tensor]]:
    """Copies each parameter's moments and step count; empty where no step was taken yet."""
    return [
        {name: value.clone() for name, value in adam.state.get(parameter, {}).items()}
        for group in adam.param_groups
        for parameter in group["params"]
    ]


@torch.no_grad()
def put_back(adam: torch.optim.Adam, saved: list[dict[str, Tensor]]) -> None:
    """Sets moments and step counts to a snapshot's in the memory where they are now, which graphs have captured."""
    parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
    for parameter, values in zip(parameters, saved, strict=True):
        for name, value in adam.state.get(parameter, {}).items():
            if name in values:
                value.copy_(values[name])
            else:
                value.zero_()
