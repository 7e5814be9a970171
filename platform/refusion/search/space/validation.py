"""Checks that a search space can be searched over the given base settings, made before any trial starts."""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator, Sequence
from typing import Any

from refusion.config.layers import check, leaves
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.space.parameter import Parameter
from refusion.search.space.space import Space

# What may differ between trials; everything else is the same for all.
SECTIONS = ("schedule", "outer", "objective", "images", "network")
_SAMPLES = 50
_TRIES = 100
_SHARED = {
    "tasks": "all trials must train the same tasks to be compared",
    "data": "all trials must see the same images to be compared",
    "map": "all trials must see the same images to be compared",
    "split": "all trials must see the same images to be compared",
    "range": "all trials must see the same images to be compared",
    "max_megapixels": "all trials must see the same images to be compared",
    "skip_bad_pairs": "all trials must see the same images to be compared",
    "seed": "the sweep gives every trial the same seed, so that only the searched settings differ",
    "workers": "it says where a trial runs, not what it learns",
    "threads": "it says where a trial runs, not what it learns",
    "gpu": "it says where a trial runs, not what it learns",
    "retries": "it says what happens when a worker is lost, not what is learned",
    "recompute": "it is about memory, not about what is learned",
    "compile": "it is about speed, not about what is learned",
    "graphs": "it is about speed, not about what is learned",
    "precision": "all trials must compute alike to be compared",
    "images.cache_mb": "it is about memory, not about what is learned",
    "images.device_cache_mb": "it is about memory, not about what is learned",
    "schedule.epochs": "it is the budget that all trials share: set it for the whole sweep",
    "validation": "all trials must be measured alike to be compared",
    "checkpoints": "the sweep keeps the checkpoints that it needs",
}


def check_space(space: Space, base: Settings, sections: Sequence[str] = SECTIONS) -> None:
    """Check that every parameter is a setting that may be searched, and that all its values can be used.

    Every choice and both ends of every range must be valid together with ``base`` in at least one of 50 seeded
    samples of the other parameters. ``sections`` names the sections of the settings that may be searched.

    Raises:
        UserError: names the parameter, the first reason and the combination that was tried.
    """
    for parameter in space.parameters:
        if not parameter.name.startswith("_"):
            _check_name(parameter.name, sections)
    for parameter in space.parameters:
        for value in _probes(parameter):
            _check_value(space, base, parameter.name, value)


def draw_valid(space: Space, base: Settings, random: random.Random) -> dict[str, Any]:
    """A sample of the space that is valid over ``base``; invalid combinations are drawn again.

    Raises:
        UserError: 100 draws in a row were invalid; quotes the last reason.
    """
    reason: str | None = None
    for _ in range(_TRIES):
        values = space.sample(random)
        reason = why_invalid(space, base, values)
        if reason is None:
            return values
    raise UserError(f"{_TRIES} draws from the search space were all invalid; the last one because {reason}")


def why_invalid(space: Space, base: Settings, values: dict[str, Any]) -> str | None:
    """Reason why ``config.layers.check`` refuses these values laid over ``base``; None if it does not."""
    try:
        check([space.settings(values)], base)
    except UserError as error:
        return str(error)
    return None


def _check_name(name: str, sections: Sequence[str]) -> None:
    for shared, reason in _SHARED.items():
        if name == shared or name.startswith(f"{shared}."):
            raise UserError(f"{name}: cannot be searched: {reason}")
    known = [leaf for leaf, _ in leaves(Settings) if leaf not in _SHARED and leaf.partition(".")[0] in sections]
    if any(name == leaf or name.startswith(f"{leaf}.") for leaf in known):
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"the settings of {', '.join(sections)} can be searched"
    raise UserError(f"{name}: there is no such setting to search; {hint}")


def _probes(parameter: Parameter) -> Iterator[Any]:
    yield from parameter.choices or parameter.range


def _check_value(space: Space, base: Settings, name: str, value: Any) -> None:
    drawn = random.Random(f"{name}={value!r}")
    refused: list[tuple[str, dict[str, Any]]] = []
    for _ in range(_SAMPLES):
        values = space.sample_with(name, value, drawn)
        reason = why_invalid(space, base, values)
        if reason is None:
            return
        refused.append((reason, values))
    # A reason that names the parameter itself says more than one about something drawn beside it.
    reason, values = next((one for one in refused if f"--{name}" in one[0]), refused[0])
    tried = ", ".join(f"{other}={drawn_value!r}" for other, drawn_value in values.items() if other != name)
    beside = f" (tried with {tried})" if tried else ""
    raise UserError(f"{name}: {value!r} is never valid: {reason}{beside}")
