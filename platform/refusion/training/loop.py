"""Epochs of one task's training as one worker runs them; knows nothing of Ray or MLflow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from refusion.config.per_epoch import at
from refusion.config.settings import Settings
from refusion.errors import TrainingDivergedError
from refusion.images.dataset import evenly_spaced
from refusion.images.device_store import DevicePlanes, pairs_on_device
from refusion.images.pairs import dataset_digest
from refusion.images.store import PairStore
from refusion.meta.functional import Average
from refusion.meta.objective import loss_at, reward_of
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.ops.backend import configure
from refusion.runtime.console import clock
from refusion.runtime.distributed import Shard, average_over_workers
from refusion.tracking.comparison.scores import AVERAGE, TRAINED
from refusion.training.batches import Batches
from refusion.training.epochs.cost import EpochCost
from refusion.training.epochs.looks import Looks
from refusion.training.epochs.measuring import measure_steps
from refusion.training.epochs.pace import Pace, Stopwatch
from refusion.training.epochs.phases import run_phases, steps_of_epoch
from refusion.training.epochs.plan import EpochPlan, Kind, plan_training
from refusion.training.epochs.skipped import Phase, Skips
from refusion.training.epochs.sums import EpochSums
from refusion.training.reports import PAIRS, EpochReport, Progress
from refusion.training.signals import EpochSignals
from refusion.training.step_graphs import StepGraphs
from refusion.training.validation import Measured, average_baseline, validate

if TYPE_CHECKING:
    from refusion.training.epochs.latest import LatestCheckpoint  # which needs Ray; loops run without

# A meta-iteration costs about this many fusion updates; only the share of the work that is done depends on it.
_META_COST = 3.0
# … and on this share of an epoch being spent on its validation.
_VALIDATION_SHARE = 0.2
# Seconds of a training that few expect who have not asked for it.
_LONG = 6 * 3600
_LABELS: dict[Kind, str] = {"meta": "meta-iteration", "fusion": "fusion update", "validation": "validated pair"}


@dataclass(frozen=True)
class TaskTraining:
    """Training of one task as one of its workers runs it.

    Args:
        settings: of the run.
        task: name of the fusion task.
        train, val: the pairs' stores.
        shard: this worker's rank and the number of workers.
        device: where the modules are.
        watch: called often with the progress; must be quick.
        starting: called with what comes before the first step, a few words each.
        note: called with what the user should know, a line of text.
        baselines: how the plain average of the sources scores, by val indices, filled when first needed. Trainings of
            the same task in one process may share it, in all workers' processes alike: they fill it together.
        held: the train pairs in a GPU's memory by the side of the crops, filled when first needed; may be shared too.
        said: kinds of warning that were noted already: each is noted once.
        latest: checkpoint within an epoch; None for none.
        pace: seconds that steps take, measured on the way.
    """

    settings: Settings
    task: str
    train: PairStore
    val: PairStore
    shard: Shard
    device: torch.device
    watch: Callable[[Progress], None] = lambda _: None
    starting: Callable[[str], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
    baselines: dict[tuple[int, ...], Measured] = field(default_factory=dict, compare=False)
    held: dict[int, DevicePlanes | None] = field(default_factory=dict, compare=False)
    said: set[str] = field(default_factory=set, compare=False)
    latest: LatestCheckpoint | None = field(default=None, compare=False)
    pace: Pace = field(default_factory=Pace, compare=False)

    def begin(self, state: TrainingState) -> EpochReport | None:
        """Measure how long steps take, and validate before the first one, as epoch 0; the state stays as it is.

        Returns:
            Report of epoch 0; None where some epoch was trained already, or none is asked for.
        """
        self.starting("prepares code for this machine, which takes a minute the first time")
        self._set_up()
        if state.epoch >= self.settings.schedule.epochs:
            return None
        self.starting("measures how long steps take")
        plan, trial = self._plans[state.epoch], TrainingState(self.settings, self.task, self.device)
        batches, step = self._batches(state.epoch), self._step(state.epoch)
        measure_steps(self.pace, plan, batches, step, state, trial, self.settings.schedule.rate_at(state.epoch))
        report = None
        if state.steps == 0 and self.settings.validation.at_start:
            measured, numbers = self._measure(state, self._val_indices(0), -1)
            report = EpochReport(0, numbers, True, False, measured.pictures)
        seconds = self.pace.left(self._plans, state.epoch, steps_of_epoch(state))
        if seconds is not None:
            each = (
                f"{label} {self.pace.of(kind, plan.cost(kind)):.2g} s"
                for kind, label in _LABELS.items()
                if self.pace.of(kind, plan.cost(kind)) is not None
            )
            shorter = "; --preset quick or standard is shorter" if seconds > _LONG else ""
            self.note(f"about {clock(seconds)} to go, by the first steps ({', '.join(each)}){shorter}")
        return report

    def epochs(self, state: TrainingState) -> Iterator[EpochReport]:
        """Train from ``state.epoch`` to the end, yielding after each epoch; the state is then ready to be saved.

        Raises:
            TrainingDivergedError: the parameters are no finite numbers any more, or the losses or gradients of too
                many steps were not.
        """
        self._set_up()
        schedule = self.settings.schedule
        graphs = StepGraphs(state, self.device, self.note, captures=self.settings.graphs is not False)
        while state.epoch < schedule.epochs:
            epoch, cost = state.epoch, EpochCost(self.device.type == "cuda")
            numbers = self.train_epoch(state, graphs)
            measured, average, is_best = Measured(), Measured(), False
            if self._plans[epoch].val_pairs:
                indices = self._val_indices(epoch)
                measured, scores = self._measure(state, indices, epoch)
                is_best = self._is_best(state, scores[self.settings.validation.best_by], indices)
                average = self._baseline(indices)
                numbers |= scores
            numbers |= cost.numbers(self._plans[epoch])
            state.end_epoch()
            by_method = {TRAINED: measured.scores, AVERAGE: average.scores}
            yield EpochReport(epoch + 1, numbers, bool(measured.scores), is_best, measured.pictures, by_method)

    @cached_property
    def _plans(self) -> list[EpochPlan]:
        return plan_training(self.settings, len(self.train), len(self.val))

    def _batches(self, epoch: int) -> Batches:
        pairs = self._on_device(epoch)
        return Batches(self.train, self.settings, self.task, self.shard, self.device, epoch, pairs)

    def _step(self, epoch: int, average: Average = average_over_workers) -> Step:
        settings = self.settings
        return Step(
            loss_at(settings.objective, epoch, settings.schedule.epochs),
            reward_of(settings.objective),
            settings.images.swap,
            average,
            settings.schedule.inner_steps_at(epoch),
            settings.meta.space == "image",
        )

    def _on_device(self, epoch: int) -> DevicePlanes | None:
        """Puts the pairs into a GPU's memory where they fit, once per size of the crops."""
        crop = at(self.settings.images.crop, epoch)
        if self.device.type == "cuda" and crop not in self.held:
            free, _ = torch.cuda.mem_get_info(self.device)
            limit = min(self.settings.images.device_cache_mb << 20, free // 2)
            self.held[crop] = pairs_on_device(self.train, crop, self.device, limit)
        return self.held.get(crop)

    def _set_up(self) -> None:
        """Configure this process's computations."""
        settings = self.settings
        for note in configure(self.device, settings.compile, settings.precision, settings.recompute).notes:
            self.note(note)

    def _val_indices(self, epoch: int) -> list[int]:
        wanted = self.settings.validation.images
        return evenly_spaced(len(self.val), None if wanted is None else at(wanted, epoch))

    def _baseline(self, indices: list[int]) -> Measured:
        key = tuple(indices)
        if key not in self.baselines:
            self.baselines[key] = average_baseline(self.val, indices, self.shard)
        return self.baselines[key]

    def _is_best(self, state: TrainingState, score: float, indices: list[int]) -> bool:
        """Tells if the score is the best so far, and remembers it."""
        pairs = len(indices)
        # 60 bits of it: a checkpoint's progress is numbers and tensors.
        digest = int(dataset_digest([self.val.pairs[index] for index in indices])[:15], 16)
        # Scores on other images do not compare.
        if state.validated_pairs not in (None, pairs) or state.validated_digest not in (None, digest):
            state.best_score = None
        state.validated_pairs, state.validated_digest = pairs, digest
        is_best = math.isfinite(score) and (state.best_score is None or score > state.best_score)
        if is_best:
            state.best_score = score
        return is_best

    def _measure(self, state: TrainingState, indices: list[int], epoch: int) -> tuple[Measured, dict[str, float]]:
        """Validates as after ``epoch``, −1 before the first; returns also the numbers for the record."""
        started = time.perf_counter()
        stopwatch, each = Stopwatch(self.pace), self.shard.world

        def progress(done: int, of: int) -> None:
            stopwatch.lap("validation", each, done)
            left = self.pace.left(self._plans, epoch + 1, {})
            rest = self.pace.of("validation", each)
            left = None if left is None or rest is None else left + (of - done) * rest
            fraction = 1 - _VALIDATION_SHARE * (1 - done / of) if epoch >= 0 else 0.0
            self._report(epoch, "validation", done, of, fraction, left)

        measured = validate(
            state.fusion,
            state.loss_proposal,
            self.val,
            indices,
            shard=self.shard,
            pictures=self.settings.validation.pictures if epoch >= 0 else 0,
            device=self.device,
            progress=progress,
            sheet=self.task,
        )
        numbers = measured.means() | {
            f"baseline/{name}": value for name, value in self._baseline(indices).means().items()
        }
        numbers[PAIRS] = len(indices)
        return measured, numbers | {"time/validation_seconds": time.perf_counter() - started}

    def train_epoch(self, state: TrainingState, graphs: StepGraphs) -> dict[str, float]:
        """Take the steps of the state's epoch that are not done yet; returns its numbers but for the scores."""
        epoch = state.epoch
        batches, step, plan = self._batches(epoch), self._step(epoch, graphs.average), self._plans[epoch]
        signals = EpochSignals(state, step, self.shard, plan.meta_iterations, plan.fusion_updates)
        sums = EpochSums(signals, self.device)
        sums.restore(state.within)
        stopwatch = Stopwatch(self.pace, steps_of_epoch(state))

        skips = Skips(self.task, self.settings.schedule.max_skipped, plan, batches, sums.skipped, state, self.note)

        looks = Looks(self.device.type == "cuda", self.shard.world)

        def after(phase: Phase, numbers: dict[str, float]) -> None:
            done, of = steps_of_epoch(state)[phase], plan.count(phase)
            due = self.latest is not None and self.latest.is_due_after(state.steps)
            if due or looks.is_due(done, of):
                self._check(state, phase, done, of)
                skips.check(phase)
                stopwatch.lap(phase, plan.cost(phase), done)
                self._report_step(state, phase, numbers | sums.losses.means())
                if self.latest is not None and (due or self.latest.is_due()):
                    state.within = sums.plain()
                    self.latest.write(state, numbers | sums.losses.means())

        numbers = run_phases(self.settings, plan, state, batches, step, graphs, sums, after)
        numbers |= sums.numbers() | {"time/training_seconds": sums.seconds}
        if sums.skipped.count:
            numbers["skipped_steps"] = sums.skipped.count
            state.skipped += sums.skipped.count
        for kind, text in signals.warnings(numbers):
            if kind not in self.said:
                self.said.add(kind)
                self.note(f"epoch {epoch + 1}: {text}")
        return numbers

    def _check(self, state: TrainingState, phase: Phase, done: int, of: int) -> None:
        """Stop where the parameters are not finite; they are equal on all workers, which so stop at the same step."""
        if not state.is_finite():
            raise TrainingDivergedError(
                f"{self.task}: the parameters stopped being finite numbers in epoch {state.epoch + 1} "
                f"({phase} step {done} of {of}); lower --schedule.rate or --schedule.inner_rate"
            )

    def _report_step(self, state: TrainingState, phase: Phase, numbers: dict[str, float]) -> None:
        epoch, done = state.epoch, steps_of_epoch(state)
        plan = self._plans[epoch]
        work = plan.meta_iterations * _META_COST + plan.fusion_updates
        fraction = (done["meta"] * _META_COST + done["fusion"]) / work * (1 - _VALIDATION_SHARE)
        left = self.pace.left(self._plans, epoch, done)
        self._report(epoch, phase, done[phase], plan.count(phase), fraction, left, numbers)

    def _report(
        self,
        epoch: int,
        phase: str,
        done: int,
        of: int,
        fraction: float,
        left: float | None,
        numbers: dict[str, float] | None = None,
    ) -> None:
        whole = (max(epoch, 0) + min(fraction, 1.0)) / self.settings.schedule.epochs
        self.watch(Progress(epoch, phase, done, of, whole, numbers or {}, left))
