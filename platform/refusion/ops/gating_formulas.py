"""gelu(gate) · value and its derivatives by their formulas, of (..., 2C): gates first, then values.

gelu(g) = g·Φ(g), gelu' = Φ + g·φ and gelu'' = φ·(2 − g²), with the normal distribution Φ and its density φ.
"""

from __future__ import annotations

import math

import torch


def product(both: torch.Tensor) -> tuple[torch.Tensor]:
    """(..., C)."""
    gate, value = both.chunk(2, dim=-1)
    return (gate * _level(gate) * value,)


def slope(of_product: torch.Tensor, both: torch.Tensor) -> tuple[torch.Tensor]:
    """In both, (..., 2C), from that in the product."""
    gate, value = both.chunk(2, dim=-1)
    level = _level(gate)
    rise = level + gate * _density(gate)
    return (torch.cat((of_product * value * rise, of_product * gate * level), dim=-1),)


def change(both: torch.Tensor, dboth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The product, and its change for a change of both."""
    gate, value = both.chunk(2, dim=-1)
    dgate, dvalue = dboth.chunk(2, dim=-1)
    level = _level(gate)
    opened = gate * level
    return opened * value, dgate * value * (level + gate * _density(gate)) + opened * dvalue


def slopes_of_change(
    of_change: torch.Tensor, both: torch.Tensor, dboth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """In both and in its change, (..., 2C) each, from the slope in the change of the product."""
    gate, value = both.chunk(2, dim=-1)
    dgate, dvalue = dboth.chunk(2, dim=-1)
    level, density = _level(gate), _density(gate)
    risen = of_change * (level + gate * density)
    bent = of_change * density * (2 - gate * gate) * dgate
    of_both = torch.cat((risen * dvalue + bent * value, risen * dgate), dim=-1)
    return of_both, torch.cat((risen * value, of_change * gate * level), dim=-1)


def _level(gate: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1 + torch.erf(gate * math.sqrt(0.5)))


def _density(gate: torch.Tensor) -> torch.Tensor:
    return torch.exp(gate * gate * -0.5) * (1 / math.sqrt(2 * math.pi))
