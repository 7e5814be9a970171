"""Display of a job before anything trains: its data, and what its tasks will do in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from refusion.config.layers import for_task
from refusion.config.settings import Settings
from refusion.images.dataset import TaskPairs, check_pairs, reading_of
from refusion.images.pairs import note_lines
from refusion.meta.rehearsal import rehearse
from refusion.runtime.progress_bar import progress_bars
from refusion.training.epochs.plan import in_words, plan_training


def rehearsal_notes(settings: Settings) -> list[str]:
    """Rehearses each task's training, or one of all where they have the same settings; returns the notes, each once."""
    if not settings.per_task:
        return rehearse(settings)
    each = (for_task(settings, task).model_copy(update={"tasks": (task,)}) for task in settings.tasks)
    return list(dict.fromkeys(note for own in each for note in rehearse(own)))


def lacking_line(lacking: Sequence[str], settings: Settings) -> str:
    """Returns the line on tasks that the data does not have."""
    return f"training {', '.join(settings.tasks)}: {settings.data} has no folder of {', '.join(lacking)}"


def check_and_tell(settings: Settings, console: Console) -> list[TaskPairs]:
    """``check_pairs`` with bars on a terminal and one line per task, wherever it runs.

    Raises:
        UserError: as ``check_pairs``.
    """
    with progress_bars(console) as show:
        found = check_pairs(
            settings.data,
            settings.tasks,
            skip_bad=settings.skip_bad_pairs,
            reading=reading_of(settings),
            progress=lambda place, done, of: show(f"checking {place}", done, of),
        )
    for pairs in found:
        skipped = f", {len(pairs.skipped)} files skipped" if pairs.skipped else ""
        for line in (f"{len(pairs.train)} train and {len(pairs.val)} val pairs{skipped}", *note_lines(pairs.notes)):
            console.print(f"{pairs.task}: {line}", markup=False, soft_wrap=True)
    return found


def plan_lines(settings: Settings, pairs: Sequence[TaskPairs]) -> list[str]:
    """Says what each task's training will do, tasks that do the same in one line."""
    tasks: dict[str, list[str]] = {}
    for task in pairs:
        own = for_task(settings, task.task)
        words = in_words(own, plan_training(own, len(task.train), len(task.val)), len(task.val))
        tasks.setdefault(words, []).append(task.task)
    return [f"{', '.join(names)}: {words}" for words, names in tasks.items()]
