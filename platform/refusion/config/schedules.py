"""Schedules: each class holds the settings of one kind of rate, or of inner steps, and its formula.

A new kind of rate is one class here, named in ``AnyRate``.
"""

from __future__ import annotations

import math
import typing
from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from refusion.config.per_epoch import NUMBER, PIECEWISE, Piecewise, at, is_piecewise

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Far beyond use, and still a float32 after Adam's own factors.
RateValue = Annotated[float, Field(gt=0, le=1e30)]
# A warm-up begins at this share of the rate, so that the first steps already move.
_WARMUP_FROM = 0.1
# Kinds as older settings files, checkpoints and manifests name them.
_FORMER_KINDS = {"pieces": "piecewise"}


class Section(BaseModel):
    """Settings under one name: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RateSchedule(Section):
    """Base of all kinds of rate; each has a literal field ``kind``."""

    @abstractmethod
    def at(self, position: float, epochs: int) -> float:
        """Returns the rate at ``position`` epochs after the start.

        Args:
            position: from 0 to below ``epochs``; fractions count.
            epochs: length of the training.
        """


class _WithWarmup(RateSchedule):
    value: RateValue
    warmup: NonNegativeFloat = Field(0.0, description="epochs of linear warm-up, from a tenth of the rate")

    @abstractmethod
    def without_warmup(self, position: float, epochs: int) -> float:
        """Returns the rate as if there were no warm-up; arguments are those of ``at``."""

    def at(self, position: float, epochs: int) -> float:
        rate = self.without_warmup(position, epochs)
        if position < self.warmup:
            rate *= _WARMUP_FROM + (1 - _WARMUP_FROM) * position / self.warmup
        return rate


class ConstantRate(_WithWarmup):
    """Constant rate ``value``.

    >>> ConstantRate(value=1e-3).at(3.5, epochs=10)
    0.001
    """

    kind: Literal["constant"] = "constant"

    def without_warmup(self, position: float, epochs: int) -> float:
        return self.value


class StepRate(_WithWarmup):
    """Rate that is multiplied by ``factor`` every ``every`` epochs (published: divided by ten every 10 epochs).

    >>> StepRate(value=1.0, every=2, factor=0.5).at(4.0, epochs=10)
    0.25
    """

    kind: Literal["step"] = "step"
    every: int = Field(10, ge=1, description="epochs between two steps")
    factor: float = Field(0.1, gt=0, le=1, description="what the rate is multiplied by at each step")

    def without_warmup(self, position: float, epochs: int) -> float:
        return self.value * self.factor ** math.floor(position / self.every)


class CosineRate(_WithWarmup):
    """Half a cosine from ``value`` down to ``end`` over the epochs that follow the warm-up.

    >>> CosineRate(value=1.0).at(5.0, epochs=10)
    0.5
    """

    kind: Literal["cosine"] = "cosine"
    end: NonNegativeFloat = Field(0.0, description="rate at the end of the last epoch")

    @model_validator(mode="after")
    def _falls(self) -> CosineRate:
        if self.end > self.value:
            raise ValueError(f"the end of a cosine ({self.end:g}) must not lie above its value ({self.value:g})")
        return self

    def without_warmup(self, position: float, epochs: int) -> float:
        span = max(epochs - self.warmup, 1e-9)
        done = min(max((position - self.warmup) / span, 0.0), 1.0)
        return self.end + (self.value - self.end) * 0.5 * (1 + math.cos(math.pi * done))


class PiecewiseRate(RateSchedule):
    """Rate that changes at whole epochs and is constant between: ``{0: 1e-3, 5: 3e-4}`` falls after 5 epochs.

    >>> PiecewiseRate(values={0: 1e-3, 5: 3e-4}).at(5.5, epochs=10)
    0.0003
    """

    kind: Literal["piecewise"] = "piecewise"
    values: Piecewise[RateValue] = Field(description="rates by epochs gone before, {0: …, 5: …}")

    def at(self, position: float, epochs: int) -> float:
        return at(self.values, math.floor(position))


class TiedRate(Section):
    """Inner rate η as a multiple of the rate of the same moment (published: the same)."""

    kind: Literal["tied"] = "tied"
    ratio: PositiveFloat = Field(1.0, description="inner rate divided by rate")


AnyRate = ConstantRate | StepRate | CosineRate | PiecewiseRate
Rate = Annotated[AnyRate, Field(discriminator="kind")]
InnerRate = Annotated[TiedRate | AnyRate, Field(discriminator="kind")]


def kinds(rate: Any) -> dict[str, type[Section]]:
    """Returns the classes of a union such as ``InnerRate`` by their kinds, in its order."""
    members = typing.get_args(typing.get_args(rate)[0])
    return {str(member.model_fields["kind"].default): member for member in members}


def current_kind(kind: Any) -> Any:
    """Returns the kind's present spelling; unknown ones as they are."""
    return _FORMER_KINDS.get(kind, kind) if isinstance(kind, str) else kind


def shared_settings(one: Any, other: Any) -> set[str]:
    """Returns the names of the settings, ``kind`` apart, that two kinds of rate have in common.

    >>> sorted(shared_settings("step", "cosine")), shared_settings("step", "piecewise")
    (['value', 'warmup'], set())
    """
    one, other = (kinds(InnerRate).get(current_kind(kind)) for kind in (one, other))
    return set() if one is None or other is None else (one.model_fields.keys() & other.model_fields.keys()) - {"kind"}


def of_kind(default: str) -> BeforeValidator:
    """Validator that reads a plain number as the ``value`` of a ``default`` schedule, and former kinds."""

    def fill(given: Any) -> Any:
        if isinstance(given, int | float | str) and not isinstance(given, bool):
            given = {"value": given}
        if not isinstance(given, dict):
            return given
        return {**given, "kind": current_kind(given.get("kind", default))}

    return BeforeValidator(fill)


StepCount = Annotated[int, Field(ge=1, le=20)]


class LinearSteps(Section):
    """Inner steps K that grow or fall linearly over the epochs, rounded to whole steps."""

    start: StepCount
    end: StepCount

    def at(self, epoch: int, epochs: int) -> int:
        """Returns K in that epoch (0-based) of a training of ``epochs``."""
        done = epoch / max(epochs - 1, 1)
        # Half-way cases go up: Python's round() would send 2.5 down and 3.5 up.
        return math.floor(self.start + (self.end - self.start) * done + 0.5)


def _form_of_steps(given: object) -> str:
    if is_piecewise(given):
        return PIECEWISE
    return "line" if isinstance(given, LinearSteps | dict) else NUMBER


InnerSteps = Annotated[
    Annotated[StepCount, Tag(NUMBER)]
    | Annotated[Piecewise[StepCount], Tag(PIECEWISE)]
    | Annotated[LinearSteps, Tag("line")],
    Discriminator(_form_of_steps),
]
