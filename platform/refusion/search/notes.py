"""Notes before the first trial: trial 0, what the command line fixes, and what cannot give what one expects of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from refusion.config.layers import leaves
from refusion.config.settings import Settings
from refusion.search.manifest import SweepManifest
from refusion.search.options import STOPPING
from refusion.search.results.comparison import FEWEST_PAIRS
from refusion.search.results.held_out import TaskVal
from refusion.search.schedulers.factory import rungs
from refusion.search.space.effect import never_reached, without_effect

# Settings that say where a trial runs, not what it is.
_NOT_TOLD = ("tasks", "data", "workers", "threads", "gpu", "graphs", "retries", "compile", "recompute", "checkpoints")


def notes(manifest: SweepManifest, val: Mapping[str, TaskVal]) -> list[str]:
    """Returns one line on each thing that should be known before a sweep begins.

    Args:
        manifest: of the sweep.
        val: each task's val pairs.
    """
    base, options = manifest.base, manifest.options
    epochs = f"{base.schedule.epochs} epoch{'s' * (base.schedule.epochs != 1)}"
    found = [f"trial 0 has the base settings: {told_differences(base)}; the other trials lay their values over them"]
    found += manifest.notes
    if options.scheduler in STOPPING and not rungs(
        options.scheduler, base.schedule.epochs, options.grace, options.reduction
    ):
        found.append(
            f"note: --grace {options.grace} leaves {options.scheduler} nothing to stop in trials of {epochs}: lower "
            "it, train longer, or say --scheduler none"
        )
    if useless := without_effect(manifest.space, base):
        found.append(f"note: searched in vain, since it changes nothing in trials of {epochs}: {', '.join(useless)}")
    if late := never_reached(base):
        found.append(f"note: trials of {epochs} end before the last value of: {', '.join(late)}")
    return [*found, *_pair_notes(val, options.held_out)]


def told_differences(base: Settings) -> str:
    """Returns the settings that differ from the defaults, in one line.

    >>> told_differences(Settings())
    'the defaults'
    """
    own, other = base.model_dump(), Settings().model_dump()
    names = [name for name, _ in leaves(Settings) if name.partition(".")[0] not in _NOT_TOLD]
    differing = [f"{name} {_text(_at(own, name))}" for name in names if _at(own, name) != _at(other, name)]
    return f"the defaults with {', '.join(differing)}" if differing else "the defaults"


def _at(plain: Any, name: str) -> Any:
    return reduce(lambda inner, part: inner[part], name.split("."), plain)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple):
        return "{" + ", ".join(f"{epoch}: {_text(one)}" for epoch, one in value) + "}"
    return str(value)


def _pair_notes(val: Mapping[str, TaskVal], share: float) -> list[str]:
    found = []
    for task, pairs in val.items():
        if len(pairs.seen) == 1:
            found.append(f"note: {task}: trials are measured on one val pair; what is best on it may be chance")
    held_out = sum(len(pairs.held_out) for pairs in val.values())
    if not held_out:
        why = "--held-out 0" if share == 0 else "too few val pairs"
        found.append(f"note: no val pair is held out ({why}): the best trial is not compared with trial 0 in the end")
    elif held_out < FEWEST_PAIRS:
        found.append(
            f"note: {held_out} held-out val pair{'s' * (held_out != 1)}: too few to show that a trial is better than "
            f"trial 0, which takes {FEWEST_PAIRS}"
        )
    return found
