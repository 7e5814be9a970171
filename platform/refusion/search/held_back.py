"""The val pairs that the search never sees, and what trained modules make of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from refusion.fuse import load_module
from refusion.images.colour import stretch
from refusion.images.pairs import Pair
from refusion.images.store import PairStore
from refusion.training.batches import spread
from refusion.training.distributed import use_threads
from refusion.training.storage import Folder
from refusion.training.validation import measure

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class TaskVal:
    """A task's val pairs: those that the search sees, and those that it does not."""

    seen: list[Pair]
    held_back: list[Pair]

    @property
    def all(self) -> list[Pair]:
        """Both."""
        return self.seen + self.held_back


def split_val(pairs: Sequence[Pair], share: float) -> TaskVal:
    """Some pairs for the search and some held back, evenly mixed; the search keeps at least one.

    Args:
        share: of the pairs that is held back, 0 to below 1.
    """
    wanted = min(round(len(pairs) * share), len(pairs) - 1)
    held = set(spread(len(pairs), wanted)) if wanted else set()
    seen = [pair for index, pair in enumerate(pairs) if index not in held]
    return TaskVal(seen, [pair for index, pair in enumerate(pairs) if index in held])


@torch.no_grad()
def score_pair(checkpoint: str, task: str, pair: Mapping[str, Any], threads: int) -> dict[str, float]:
    """All metrics of one pair, fused at full size by a checkpoint's fusion module, as in validation."""
    use_threads(threads)
    with tempfile.TemporaryDirectory() as place:
        local = Folder(str(Path(place) / task))
        local.replace_by(Folder(checkpoint) / task)
        module = load_module(local.uri)
    sources = PairStore([Pair(**pair)], 0).sources(0)
    fused = module(torch.from_numpy(sources)[None])[0, 0].numpy()
    return measure(stretch(fused), sources)


def score_all(
    wanted: Sequence[tuple[int, str, Mapping[str, Sequence[Pair]]]], threads: int, console: Console
) -> dict[int, Scores]:
    """Every pair's metrics by trial, spread over the cluster; pairs and metrics are named ``TASK/…`` of several tasks.

    Args:
        wanted: (trial, its checkpoint's folder, pairs by task).
        threads: CPUs per pair.
        console: where the progress is shown.
    """
    remote = ray.remote(num_cpus=threads, max_retries=2)(score_pair)
    single = all(len(pairs) == 1 for _, _, pairs in wanted)
    waiting: dict[Any, tuple[int, str, str]] = {}
    # In the order of the pairs, not of who is ready first.
    scores: dict[int, Scores] = {number: {} for number, _, _ in wanted}
    for number, checkpoint, pairs in wanted:
        for task, of_task in pairs.items():
            for pair in of_task:
                name = pair.name if single else f"{task}/{pair.name}"
                scores[number][name] = {}
                waiting[remote.remote(checkpoint, task, asdict(pair), threads)] = (number, task, name)
    columns = (TextColumn("measuring val pairs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("", total=len(waiting))
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            number, task, name = waiting.pop(ready)
            found = ray.get(ready)
            scores[number][name] = found if single else {f"{task}/{metric}": value for metric, value in found.items()}
            bar.advance(shown)
    return scores
