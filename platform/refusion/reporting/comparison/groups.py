"""Groups of runs that may be compared: of one task, scored on the same pairs in the same convention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from refusion.errors import UserError
from refusion.evaluation.results import MethodScores
from refusion.metrics import METRICS
from refusion.tasks import TASKS
from refusion.tracking.comparison.runs import RecordedRun
from refusion.tracking.comparison.scores import AVERAGE, TRAINED


@dataclass(frozen=True)
class Group:
    """Runs of one task that were scored on the same pairs.

    Attributes:
        digest: of the pairs.
        runs: by name, oldest first; of one that has no scores per picture there is none.
        methods: the runs' scores in that order, and last the average of the sources, where any run has it.
        baseline: name of the method that the others are compared with.
    """

    task: str
    digest: str
    convention: str
    runs: dict[str, RecordedRun]
    methods: list[MethodScores]
    baseline: str

    @property
    def pictures(self) -> int:
        """Number of pictures that were scored."""
        return len(self.methods[0].frame)

    @property
    def title(self) -> str:
        """The task and the number of its pairs, with their digest."""
        pairs = f"{self.pictures} pair{'' if self.pictures == 1 else 's'}"
        return f"{self.task}, {pairs} (digest {self.digest[:8]})"

    def scores(self, name: str) -> pd.DataFrame:
        """Returns a method's scores, pictures × metrics."""
        return next(method.frame for method in self.methods if method.name == name)

    @property
    def others(self) -> list[str]:
        """Names of all methods but the baseline."""
        return [method.name for method in self.methods if method.name != self.baseline]


@dataclass(frozen=True)
class Compared:
    """All groups, those of one task together, and sentences on what could not be compared."""

    groups: list[Group]
    notes: list[str]


def group_runs(runs: Sequence[RecordedRun], baseline: str = AVERAGE) -> Compared:
    """Groups runs by task and pairs; only runs of one group are compared picture by picture.

    Args:
        runs: oldest first.
        baseline: ``average``, or the name of a run. A group without that run is compared with the average.

    Raises:
        UserError: no run is called so.
    """
    if baseline != AVERAGE and baseline not in {run.name for run in runs}:
        known = ", ".join(dict.fromkeys(run.name for run in runs))
        raise UserError(f"--baseline {baseline}: is neither average nor one of the runs compared ({known})")
    notes = []
    by_pairs: dict[tuple[str, str, str], list[RecordedRun]] = {}
    for run in runs:
        if run.scores is None:
            why = "an earlier version kept no scores per picture"
            if run.epoch is None and run.trained:
                why = "it is not validated yet" if run.status == "RUNNING" else "nothing was validated"
            notes.append(f"{run.task}, {run.name}: is left out, since {why}.")
        else:
            by_pairs.setdefault((run.task, run.scores.digest, run.scores.convention), []).append(run)
    groups = [_group(*key, found, baseline) for key, found in by_pairs.items()]
    tasks = list(TASKS)
    # Of one task the group of most runs first, of equally many the newest.
    order = {id(group): place for place, group in enumerate(groups)}
    groups.sort(key=lambda group: (tasks.index(group.task), -len(group.runs), -order[id(group)]))
    for task in dict.fromkeys(group.task for group in groups):
        notes += _apart([group for group in groups if group.task == task])
    for group in groups:
        if group.baseline != baseline:
            notes.append(f"{group.title}: {baseline} has no scores there, so that the average is the baseline.")
    return Compared(groups, notes)


def _apart(groups: Sequence[Group]) -> Iterable[str]:
    if len(groups) > 1:
        parts = "; ".join(f"{', '.join(group.runs)} on {group.title.partition(', ')[2]}" for group in groups)
        yield f"{groups[0].task}: runs were scored on different pairs, and are compared only within them: {parts}."


def _group(task: str, digest: str, convention: str, runs: Sequence[RecordedRun], baseline: str) -> Group:
    frames: dict[str, pd.DataFrame] = {}
    average: pd.DataFrame | None = None
    for run in runs:
        assert run.scores is not None
        frames[run.name] = run.scores.methods[TRAINED]
        if average is None:
            average = run.scores.methods.get(AVERAGE)
    if average is not None:
        # Of an evaluated "average" these are the same numbers.
        frames.pop(AVERAGE, None)
        frames[AVERAGE] = average
    names = next(iter(frames.values())).index
    methods = [
        MethodScores(name, convention, frame.reindex(index=names, columns=list(METRICS)))
        for name, frame in frames.items()
    ]
    known = {run.name: run for run in runs if run.name in frames and run.name != AVERAGE}
    fallback = AVERAGE if AVERAGE in frames else methods[0].name
    return Group(task, digest, convention, known, methods, baseline if baseline in frames else fallback)
