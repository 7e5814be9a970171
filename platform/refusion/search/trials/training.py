"""One trial's training, epoch by epoch, over one task or several; knows nothing of Ray or MLflow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.device_store import DevicePlanes
from refusion.images.pairs import Pair
from refusion.images.store import PairStore
from refusion.images.writing import write_image
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.search.space.space import Space
from refusion.training.checkpoints import PICTURES, load_checkpoint, read_metrics, save_checkpoint
from refusion.training.loop import TaskTraining
from refusion.training.reports import EpochReport, Progress
from refusion.training.validation import Measured

# Ray shows on the sweep's console what a trial's process logs as a warning.
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialPlan:
    """Plan that all trials of a sweep share; plain values only, since it travels to other machines.

    Attributes:
        base: settings, over which a trial's values are laid.
        space: as ``Space.plain`` gives it.
        pairs: (train, val) pairs by task, as plain mappings; val are those that the search may look at.
        data_folder: where the built-in scenes are made if they are not there.
        threads: torch threads of a worker.
    """

    base: dict[str, Any]
    space: dict[str, Any]
    pairs: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]
    data_folder: str
    threads: int

    def settings(self, values: Mapping[str, Any]) -> Settings:
        """A trial's settings.

        Raises:
            UserError: the values do not go together.
        """
        return check([Space.read(self.space).settings(values)], Settings.model_validate(self.base))


@dataclass
class TrialCache:
    """Cache of one process for its trials, at a time or in turn: images, scores of the sources' average, notes."""

    plan: TrialPlan
    baselines: dict[str, dict[tuple[int, ...], Measured]] = field(default_factory=dict)
    held: dict[str, dict[int, DevicePlanes | None]] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Show a line on the sweep's console, once."""
        if text not in self.noted:
            self.noted.add(text)
            _LOG.warning(text)

    @cached_property
    def stores(self) -> dict[str, tuple[PairStore, PairStore]]:
        """(train, val) images by task."""
        cache_bytes = (Settings.model_validate(self.plan.base).images.cache_mb << 20) // (2 * len(self.plan.pairs))
        return {
            task: (_store(train, cache_bytes), _store(val, cache_bytes))
            for task, (train, val) in self.plan.pairs.items()
        }


def _store(pairs: Sequence[Mapping[str, Any]], cache_bytes: int) -> PairStore:
    return PairStore([Pair(**pair) for pair in pairs], cache_bytes)


class TrialTraining:
    """F, P and R of each task of a trial, trained one epoch after the other.

    Args:
        cache: the process's.
        values: what the search chose.
        shard: this worker's place among the trial's workers.
        device: where the modules are.
        watch: told often about each task's progress.
    """

    def __init__(
        self,
        cache: TrialCache,
        values: Mapping[str, Any],
        shard: Shard | None = None,
        device: torch.device | None = None,
        watch: Callable[[str, Progress], None] = lambda _task, _progress: None,
    ) -> None:
        self.cache = cache
        self.settings = cache.plan.settings(values)
        self.shard = shard or Shard()
        self.device = device or torch.device("cpu")
        self.watch = watch
        self.states = {task: TrainingState(self.settings, task, self.device) for task in cache.plan.pairs}
        self.reports: dict[str, EpochReport] = {}
        # One per task for all its epochs: on a GPU it holds the steps' graphs.
        self._epochs: dict[str, Iterator[EpochReport]] = {}

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return min(state.epoch for state in self.states.values())

    @property
    def done(self) -> bool:
        """True once all epochs are trained."""
        return self.epoch >= self.settings.schedule.epochs

    def train_epoch(self) -> dict[str, float]:
        """Train every task for one epoch; its numbers, named ``TASK/…`` where there are several tasks.

        Raises:
            TrainingDivergedError: a task's parameters are no finite numbers any more.
        """
        for task, state in self.states.items():
            if task not in self._epochs:
                self._epochs[task] = self._training(task).epochs(state)
            self.reports[task] = next(self._epochs[task])
        return self._named({task: report.numbers for task, report in self.reports.items()})

    def saved_numbers(self, folder: Path) -> dict[str, float]:
        """Numbers of the epoch whose checkpoint ``save`` wrote there, as `train_epoch` returned them."""
        saved = {task: read_metrics(folder / task) for task in self.states}
        return self._named({task: {k: v for k, v in own.items() if k != "epoch"} for task, own in saved.items()})

    def _named(self, of_tasks: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        if len(of_tasks) == 1:
            (numbers,) = of_tasks.values()
            return dict(numbers)
        return {f"{task}/{name}": value for task, own in of_tasks.items() for name, value in own.items()}

    def _training(self, task: str) -> TaskTraining:
        train, val = self.cache.stores[task]
        return TaskTraining(
            self.settings,
            task,
            train,
            val,
            self.shard,
            self.device,
            watch=lambda progress: self.watch(task, progress),
            note=self.cache.note,
            baselines=self.cache.baselines.setdefault(task, {}),
            held=self.cache.held.setdefault(task, {}),
        )

    def save(self, folder: Path) -> None:
        """A whole checkpoint per task, ``folder/TASK``, with the pictures of the last validation."""
        for task, state in self.states.items():
            place = folder / task
            place.mkdir(parents=True, exist_ok=True)
            report = self.reports.get(task)
            save_checkpoint(place, state, self.settings, task, report.numbers if report else {})
            for name, picture in (report.pictures if report else {}).items():
                path = place / PICTURES / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, picture)

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint that ``save`` wrote, of this trial or of another with the same networks.

        Raises:
            UserError: it is damaged, or of other networks.
        """
        # The optimisers' memory is another afterwards than the one that graphs have captured.
        self._epochs.clear()
        for task, state in self.states.items():
            load_checkpoint(folder / task, state)
