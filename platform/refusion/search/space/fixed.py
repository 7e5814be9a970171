"""Parameters that the command line fixes: what is given there is not searched, and nothing that would replace it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from refusion.config.layers import PER_TASK, leaves
from refusion.config.schedules import InnerRate, current_kind, kinds
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.space.parameter import Parameter
from refusion.search.space.space import Space

# Settings whose parts can be given one by one; of the others a part given stands for the whole.
_WITH_PARTS = ("schedule.rate", "schedule.inner_rate")


@dataclass(frozen=True)
class FixedSpace:
    """A space without what the command line fixes.

    Attributes:
        space: what is left to search.
        fixed: parameters that the command line has given, with the values that all trials have instead.
        fallen: parameters that cannot be active any more.
    """

    space: Space
    fixed: dict[str, Any]
    fallen: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Returns the sentence for the console; empty where nothing is fixed."""
        if not (self.fixed or self.fallen):
            return ""
        text = ", ".join(f"{name} {_shown(value)}" for name, value in self.fixed.items())
        also = f"; with that, these are not searched either: {', '.join(self.fallen)}" if self.fallen else ""
        return f"fixed by the command line, not searched: {text}{also}"


def fix_given(space: Space, given: Sequence[Mapping[str, Any]], base: Settings) -> FixedSpace:
    """Takes what the command line gives out of a space.

    Args:
        space: as its file has it.
        given: nested settings of the command line.
        base: settings that trials begin with, ``given`` among them.

    Raises:
        UserError: nothing is left to search.
    """
    plain = base.model_dump(mode="json")
    replaced = list(_replaced(given))
    met = {p.name: _at(plain, p.name) for p in space.parameters if any(_meets(p.name, one) for one in replaced)}
    # A part that the given value does not have: an epoch's own, or another kind's.
    fixed = {name: value for name, value in met.items() if value is not None}
    lost = {p.name for p in space.parameters if _of_another_kind(p.name, given, plain)} | (met.keys() - fixed.keys())
    left: dict[str, Parameter] = {}
    fallen: list[str] = []
    for parameter in space.parameters:
        if parameter.name in fixed:
            continue
        # A condition on what is searched stays; one on what is fixed is decided by its value.
        on_fixed = [(name, wanted) for name, wanted in parameter.when if name not in left]
        if parameter.name in lost or any(name not in fixed or fixed[name] not in w for name, w in on_fixed):
            fallen.append(parameter.name)
        else:
            left[parameter.name] = replace(parameter, when=tuple(c for c in parameter.when if c not in on_fixed))
    used = {name for parameter in left.values() for name, _ in parameter.when}
    searched = tuple(p for p in left.values() if not p.name.startswith("_") or p.name in used or not met)
    if met and not any(not parameter.name.startswith("_") for parameter in searched):
        names = ", ".join(f"--{name}" for name in met)
        raise UserError(f"the command line fixes all that is searched ({names}): leave one out, or train")
    return FixedSpace(Space(searched), fixed, tuple(name for name in fallen if not name.startswith("_")))


def _replaced(given: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the dotted names of what is given: a whole setting, or parts of one whose parts stand alone."""
    settings = [name for name, _ in leaves(Settings)]
    for change in given:
        for name, value in _flat(change):
            parts = name.split(".")
            own = ".".join(parts[2:]) if parts[0] == PER_TASK else name
            setting = next((one for one in settings if own == one or own.startswith(f"{one}.")), own)
            whole = setting not in _WITH_PARTS and not setting.endswith("options")
            yield setting if whole or own == setting or isinstance(value, list) else own


def _flat(change: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(change, Mapping) and change:
        for key, value in change.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, change


def _meets(parameter: str, given: str) -> bool:
    """Returns true where one of the two is the other, or a part of it."""
    return parameter == given or parameter.startswith(f"{given}.") or given.startswith(f"{parameter}.")


def _of_another_kind(name: str, given: Sequence[Mapping[str, Any]], plain: Mapping[str, Any]) -> bool:
    """Returns true for a part of a schedule that the kind that is given does not have."""
    for setting in _WITH_PARTS:
        if name.startswith(f"{setting}.") and f"{setting}.kind" in _replaced(given):
            kind = kinds(InnerRate).get(current_kind(_at(plain, f"{setting}.kind")))
            return kind is not None and name.removeprefix(f"{setting}.").partition(".")[0] not in kind.model_fields
    return False


def _at(plain: Mapping[str, Any], name: str) -> Any:
    found: Any = plain
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
