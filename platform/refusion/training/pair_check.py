"""The one check of all pairs, shown while it goes on."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from refusion.config.settings import Settings
from refusion.images.dataset import TaskPairs, check_pairs


def check_with_progress(settings: Settings, console: Console) -> list[TaskPairs]:
    """``check_pairs`` with a live line on a terminal and one line per task, wherever it runs.

    Raises:
        UserError: as ``check_pairs``.
    """
    columns = (TextColumn("checking {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        places: dict[str, TaskID] = {}

        def tell(place: str, done: int, of: int) -> None:
            if place not in places:
                places[place] = bar.add_task(place, total=of)
            bar.update(places[place], completed=done)

        found = check_pairs(settings.data, settings.tasks, skip_bad=settings.skip_bad_pairs, progress=tell)
    for pairs in found:
        skipped = f", {len(pairs.skipped)} files skipped" if pairs.skipped else ""
        console.print(f"{pairs.task}: {len(pairs.train)} train and {len(pairs.val)} val pairs{skipped}")
    return found
