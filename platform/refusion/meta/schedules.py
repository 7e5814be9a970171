"""Rates, inner steps and coefficients as pure functions of where the training stands."""

from __future__ import annotations

import math

from refusion.config.per_epoch import at
from refusion.config.settings import (
    CosineRate,
    LinearSteps,
    ObjectiveSettings,
    PiecesRate,
    Rate,
    ScheduleSettings,
    StepRate,
    TiedRate,
)

# A warm-up begins at this share of the rate, so that the first steps already move.
_WARMUP_FROM = 0.1


def rate_at(rate: Rate, position: float, epochs: int) -> float:
    """The rate at ``position`` epochs after the start (0 ≤ position < epochs; fractions count).

    A step schedule drops at whole multiples of ``every``; a cosine spans the epochs that follow the warm-up; pieces
    change at whole epochs only.
    """
    if isinstance(rate, PiecesRate):
        return at(rate.values, math.floor(position))
    value = rate.value
    if isinstance(rate, StepRate):
        value *= rate.factor ** math.floor(position / rate.every)
    elif isinstance(rate, CosineRate):
        span = max(epochs - rate.warmup, 1e-9)
        done = min(max((position - rate.warmup) / span, 0.0), 1.0)
        value = rate.end + (rate.value - rate.end) * 0.5 * (1 + math.cos(math.pi * done))
    if position < rate.warmup:
        value *= _WARMUP_FROM + (1 - _WARMUP_FROM) * position / rate.warmup
    return value


def inner_rate_at(schedule: ScheduleSettings, position: float) -> float:
    """The inner rate η: a multiple of the rate of the same moment, or a schedule of its own."""
    if isinstance(schedule.inner_rate, TiedRate):
        return schedule.inner_rate.ratio * rate_at(schedule.rate, position, schedule.epochs)
    return rate_at(schedule.inner_rate, position, schedule.epochs)


def inner_steps_at(schedule: ScheduleSettings, epoch: int) -> int:
    """K, the inner steps of each meta-iteration in that epoch (0-based)."""
    steps = schedule.inner_steps
    if isinstance(steps, LinearSteps):
        done = epoch / max(schedule.epochs - 1, 1)
        # Half-way cases go up: Python's round() would send 2.5 down and 3.5 up.
        return math.floor(steps.start + (steps.end - steps.start) * done + 0.5)
    return at(steps, epoch)


def beta_at(objective: ObjectiveSettings, epoch: int, epochs: int) -> float:
    """β, the weight of the gradient term: (epoch + 1)/epochs of its full value on the linear ramp (published).

    Pieces change the full value; the ramp goes on.
    """
    beta = at(objective.beta, epoch)
    return beta if objective.beta_ramp == "constant" else beta * (epoch + 1) / epochs
