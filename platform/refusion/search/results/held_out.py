"""Val pairs that the search never sees, and the scores of trained modules on them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from rich.console import Console

from refusion.config.per_epoch import at
from refusion.config.settings import ValidationSettings
from refusion.fuse import fuse_pair, load_module
from refusion.images.colour import luminance
from refusion.images.dataset import evenly_spaced, make_available
from refusion.images.pairs import Pair
from refusion.images.store import PairStore
from refusion.runtime.distributed import use_threads
from refusion.runtime.progress_bar import progress_bar
from refusion.runtime.storage import Folder
from refusion.training.validation import measure

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class TaskVal:
    """A task's val pairs: those that trials are measured on, and those that the search never sees."""

    all: list[Pair]
    seen: list[Pair]
    held_out: list[Pair]


def split_val(pairs: Sequence[Pair], share: float, validation: ValidationSettings, epochs: int) -> TaskVal:
    """Divides pairs into those for the search and those held out, evenly mixed; the search keeps at least one.

    Args:
        share: of the pairs that is held out, 0 to below 1. Above 0, all pairs are held out beyond the most that
            ``validation`` ever measures.
        validation: of the trials.
        epochs: of a trial that is not stopped.
    """
    wanted = 0
    if share > 0:
        wanted = max(round(len(pairs) * share), len(pairs) - _most_measured(len(pairs), validation, epochs))
        wanted = min(wanted, len(pairs) - 1)
    held = set(evenly_spaced(len(pairs), wanted)) if wanted else set()
    seen, held_out = ([pair for index, pair in enumerate(pairs) if (index in held) is out] for out in (False, True))
    return TaskVal(list(pairs), seen, held_out)


def _most_measured(count: int, validation: ValidationSettings, epochs: int) -> int:
    """The most of ``count`` pairs that any validation of a trial looks at."""
    wanted = validation.images
    if wanted is None:
        return count
    measured = (epoch for epoch in range(epochs) if (epoch + 1) % validation.every == 0 or epoch + 1 == epochs)
    return min(count, max(at(wanted, epoch) for epoch in measured))


def score_pair(
    checkpoint: str, task: str, pair: Mapping[str, Any], threads: int, source: tuple[str, str] | None = None
) -> dict[str, float]:
    """Computes all metrics of one pair, fused at full size by a checkpoint's fusion module, as in validation.

    Args:
        source: setting ``data`` and the folder that it became, which is made on a machine that lacks the pair; None:
            it is there.
    """
    use_threads(threads)
    # Not more often: a job goes on with what a machine has, also where the bucket's objects have changed since.
    if source is not None and not all(Path(pair[side]).is_file() for side in ("a", "b")):
        make_available(source[0], Path(source[1]))
    with tempfile.TemporaryDirectory() as place:
        local = Folder(str(Path(place) / task))
        local.replace_by(Folder(checkpoint) / task)
        # The sweep has trained it: what it names is what the user has asked for.
        module = load_module(local.uri, trust_code=True)
    a, b = PairStore([Pair(**pair)], 0).originals(0)
    return measure(fuse_pair(module, a, b), np.stack([luminance(a), luminance(b)]))


def score_all(
    wanted: Sequence[tuple[int, str, Mapping[str, Sequence[Pair]]]],
    threads: int,
    console: Console,
    source: tuple[str, str] | None = None,
) -> dict[int, Scores]:
    """Computes every pair's metrics by trial, spread over the cluster.

    Names of pairs and metrics begin with ``TASK/`` where there are several tasks.

    Args:
        wanted: (trial, its checkpoint's folder, pairs by task).
        threads: CPUs per pair.
        console: where the progress is shown.
        source: of the pairs, as `score_pair`.
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
                waiting[remote.remote(checkpoint, task, asdict(pair), threads, source)] = (number, task, name)
    of = len(waiting)
    with progress_bar("measuring val pairs", console) as show:
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            number, task, name = waiting.pop(ready)
            found = ray.get(ready)
            scores[number][name] = found if single else {f"{task}/{metric}": value for metric, value in found.items()}
            show(of - len(waiting), of)
    return scores
