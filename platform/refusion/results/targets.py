"""Targets that the project has set itself, and by how much each is met or missed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from refusion.evaluation.formats import as_markdown
from refusion.evaluation.ranking import RANKINGS, mean_ranks, means_of
from refusion.evaluation.results import MethodScores
from refusion.evaluation.table import Cell, Table, number_text
from refusion.tasks import find_task

_NOT_BELOW = ("VIF", "Qabf", "SSIM")


@dataclass(frozen=True)
class Target:
    """A score to reach on other pairs, and what two classical methods have there.

    Attributes:
        metric: the score's name.
        value: to reach on those pairs.
        references: scores on the same pairs, by method.
    """

    metric: str
    value: float
    references: Mapping[str, float]

    def on(self, means: pd.DataFrame) -> float:
        """Returns the score to reach on the pairs of ``means``: in proportion to what the references have there.

        The value as it stands where a reference is missing.
        """
        if not set(self.references) <= set(means.index):
            return self.value
        there = sum(self.references.values()) / len(self.references)
        here = float(means.loc[list(self.references), self.metric].mean())
        return self.value * here / there


TARGETS: Mapping[str, Sequence[Target]] = {
    "IVIF": (
        Target("Qabf", 0.62, {"max": 0.615, "guided": 0.629}),
        Target("VIF", 0.43, {"max": 0.468, "guided": 0.447}),
    ),
    "MIF": (
        Target("Qabf", 0.70, {"max": 0.657, "guided": 0.697}),
        Target("SSIM", 0.70, {"max": 0.775, "guided": 0.761}),
    ),
    "MFIF": (
        Target("Qabf", 0.74, {"laplacian": 0.726, "focus": 0.750}),
        Target("VIF", 0.65, {"laplacian": 0.618, "focus": 0.673}),
    ),
    "MEIF": (
        Target("Qabf", 0.76, {"mertens": 0.771, "guided": 0.769}),
        Target("VIF", 0.78, {"mertens": 0.799, "guided": 0.760}),
    ),
}


def target_table(task: str, methods: Sequence[MethodScores], ours: str, published: str) -> str:
    """Returns each target of a task with what ours has, in Markdown.

    Args:
        task: its name.
        methods: ours and the others.
        ours, published: names of methods.
    """
    rows = tuple(_rows(task, means_of(methods), ours, published))
    notes = [
        "The scores to reach were set on other pairs: here they stand in proportion to what the classical methods "
        "named have there and here.",
        "By: how far beyond the target, negative where it is missed.",
    ]
    return as_markdown(Table(("target", "to reach", ours, "by", ""), rows), f"{find_task(task).name}: targets", notes)


def _rows(task: str, means: pd.DataFrame, ours: str, published: str) -> Iterator[tuple[Cell, ...]]:
    for head, metrics in RANKINGS.items():
        found = mean_ranks(means, metrics)
        others = found.drop(ours)
        if len(others):
            yield _row(
                f"best {head}: next is {others.idxmin()}", float(others.min()), float(found[ours]), 2, lower=True
            )
    for metric in _NOT_BELOW:
        if published in means.index:
            yield _row(f"{metric} not below {published}", means[metric][published], means[metric][ours], 3)
    for target in TARGETS[task]:
        named = " and ".join(target.references)
        text = f"{target.metric} {target.value:g} where {named} have {_joined(target.references.values())}"
        yield _row(text, target.on(means), means[target.metric][ours], 3)


def _row(text: str, wanted: float, found: float, decimals: int, lower: bool = False) -> tuple[Cell, ...]:
    margin = wanted - found if lower else found - wanted
    outcome = "–" if math.isnan(margin) else "met" if margin >= 0 else "missed"
    numbers = (Cell(number_text(value, decimals)) for value in (wanted, found, margin))
    return (Cell(text), *numbers, Cell(outcome, highlight="best" if outcome == "met" else ""))


def _joined(values: Iterable[float]) -> str:
    return " and ".join(f"{value:g}" for value in values)
