"""LayerNorm over the channels and its derivatives by their formulas, of x (pixels, C).

With x̂ = rstd·(x − mean), the Jacobian of x̂ in x is J = rstd·(1 − mean(·) − x̂·mean(x̂ ·)): symmetric, and dependent
on x by way of rstd and twice of x̂.
"""

from __future__ import annotations

import torch

EPS = 1e-5


def norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x̂·weight + bias, mean (pixels, 1) and rstd (pixels, 1)."""
    mean = _mean(x)
    centred = x - mean
    rstd = torch.rsqrt(_mean(centred * centred) + EPS)
    return centred * rstd * weight + bias, mean, rstd


def change(
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
    dbias: torch.Tensor,
) -> tuple[torch.Tensor]:
    """Of the result, for changes of x, weight and bias."""
    scaled = (x - mean) * rstd
    return (_pull_back(dx, scaled, rstd) * weight + scaled * dweight + dbias,)


def slopes_of_change(
    of_change: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """In x, in weight, and in the changes of x, weight and bias, from that in the change of the result."""
    scaled = (x - mean) * rstd
    moved = _pull_back(dx, scaled, rstd)
    weighted = of_change * weight
    along_slope, along_change = (rstd * _mean(one * scaled) for one in (weighted, dx))
    joint = rstd * _mean(weighted * moved)
    inner = of_change * dweight - weighted * along_change - dx * along_slope
    of_x = _pull_back(inner, scaled, rstd) - scaled * joint
    of_weight, of_dweight = (of_change * moved).sum(dim=0), (of_change * scaled).sum(dim=0)
    return of_x, of_weight, _pull_back(weighted, scaled, rstd), of_dweight, of_change.sum(dim=0)


def _pull_back(slope: torch.Tensor, scaled: torch.Tensor, rstd: torch.Tensor) -> torch.Tensor:
    """J applied to a slope or a change."""
    return rstd * (slope - _mean(slope) - scaled * _mean(slope * scaled))


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=-1, keepdim=True)
