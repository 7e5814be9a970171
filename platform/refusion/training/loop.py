"""Epochs of one task's training as one worker runs them; knows nothing of Ray or MLflow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch

from refusion.config.per_epoch import at
from refusion.config.settings import Settings
from refusion.images.dataset import evenly_spaced
from refusion.images.device_store import DevicePlanes, pairs_on_device
from refusion.images.store import PairStore
from refusion.meta.objective import loss_at, reward_of
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.ops.backend import configure
from refusion.runtime.distributed import Shard, average_over_workers, gather_on_all
from refusion.training.batches import Batches, Waits, read_ahead
from refusion.training.reports import PAIRS, EpochReport, Losses, Progress, TrainingDivergedError
from refusion.training.signals import EpochSignals
from refusion.training.step_graphs import StepGraphs
from refusion.training.validation import Measured, average_baseline, validate

# Steps between two checks of the numbers: each waits for the device.
_CHECK_EVERY = 10
# A meta-iteration costs about this many fusion updates; only the estimate of the time left depends on it.
_META_COST = 3.0
# … and on this share of an epoch being spent on its validation.
_VALIDATION_SHARE = 0.2


@dataclass
class _Speed:
    """Pairs per second since the epoch began, over all workers; a batch counts without its swapped copies."""

    batch: int
    pairs: int = 0
    begun: float = field(default_factory=time.perf_counter)

    def after(self, batches: int) -> float:
        self.pairs += batches * self.batch
        return self.pairs / max(time.perf_counter() - self.begun, 1e-9)


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
        note: called with what the user should know, a line of text.
        baselines: how the plain average of the sources scores, by val indices, filled when first needed. Trainings of
            the same task in one process may share it, in all workers' processes alike: they fill it together.
        held: the train pairs in a GPU's memory by the side of the crops, filled when first needed; may be shared too.
        said: kinds of warning that were noted already: each is noted once.
    """

    settings: Settings
    task: str
    train: PairStore
    val: PairStore
    shard: Shard
    device: torch.device
    watch: Callable[[Progress], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
    baselines: dict[tuple[int, ...], dict[str, float]] = field(default_factory=dict, compare=False)
    held: dict[int, DevicePlanes | None] = field(default_factory=dict, compare=False)
    said: set[str] = field(default_factory=set, compare=False)

    def epochs(self, state: TrainingState) -> Iterator[EpochReport]:
        """Train from ``state.epoch`` to the end, yielding after each epoch; the state is then ready to be saved.

        Raises:
            TrainingDivergedError: the parameters are no finite numbers any more.
        """
        self._set_up()
        schedule = self.settings.schedule
        graphs = StepGraphs(state, self.device, self.note)
        graphs.captures &= self.shard.world == 1
        while state.epoch < schedule.epochs:
            epoch = state.epoch
            started = time.perf_counter()
            numbers = self._train_epoch(state, graphs)
            trained = time.perf_counter() - started
            numbers["time/training_seconds"] = trained
            measured = Measured()
            is_best = False
            if (epoch + 1) % self.settings.validation.every == 0 or epoch + 1 == schedule.epochs:
                started = time.perf_counter()
                indices = self._val_indices(epoch)
                measured = self._validate(state, indices)
                scores = measured.means()
                is_best = self._is_best(state, scores[self.settings.validation.best_by], len(indices))
                numbers |= scores | {f"baseline/{name}": value for name, value in self._baseline(indices).items()}
                numbers[PAIRS] = len(indices)
                numbers["time/validation_seconds"] = time.perf_counter() - started
            state.epoch = epoch + 1
            yield EpochReport(epoch + 1, numbers, bool(measured.scores), is_best, measured.pictures, measured.scores)

    def _on_device(self, epoch: int) -> DevicePlanes | None:
        """Puts the pairs into a GPU's memory where they fit, once per size of the crops."""
        crop = at(self.settings.images.crop, epoch)
        if self.device.type == "cuda" and crop not in self.held:
            self.held[crop] = pairs_on_device(self.train, crop, self.device, self.settings.images.cache_mb << 20)
        return self.held.get(crop)

    def _set_up(self) -> None:
        """Configure this process's computations."""
        settings = self.settings
        for note in configure(self.device, settings.compile, settings.precision, settings.recompute).notes:
            self.note(note)

    def _val_indices(self, epoch: int) -> list[int]:
        wanted = self.settings.validation.images
        return evenly_spaced(len(self.val), None if wanted is None else at(wanted, epoch))

    def _baseline(self, indices: list[int]) -> dict[str, float]:
        key = tuple(indices)
        if key not in self.baselines:
            self.baselines[key] = average_baseline(self.val, indices, self.shard).means()
        return self.baselines[key]

    @staticmethod
    def _is_best(state: TrainingState, score: float, pairs: int) -> bool:
        """Tells if the score is the best so far, and remembers it."""
        # Scores on other images do not compare.
        if state.validated_pairs not in (None, pairs):
            state.best_score = None
        state.validated_pairs = pairs
        is_best = math.isfinite(score) and (state.best_score is None or score > state.best_score)
        if is_best:
            state.best_score = score
        return is_best

    def _validate(self, state: TrainingState, indices: list[int]) -> Measured:
        epoch = state.epoch
        return validate(
            state.fusion,
            state.loss_proposal,
            self.val,
            indices,
            shard=self.shard,
            pictures=self.settings.validation.pictures,
            device=self.device,
            progress=lambda done, of: self._report(
                epoch, "validation", done, of, 1 - _VALIDATION_SHARE * (1 - done / of)
            ),
        )

    def _fusion_steps(self, batches: Batches) -> int:
        """Fusion updates of the epoch: as set, or one pass over its pairs."""
        wanted = self.settings.schedule.fusion_steps
        return wanted if wanted is not None else -(-len(batches.indices) // self.settings.images.batch)

    def _train_epoch(self, state: TrainingState, graphs: StepGraphs) -> dict[str, float]:
        schedule, objective, epoch = self.settings.schedule, self.settings.objective, state.epoch
        batches = Batches(self.train, self.settings, self.task, self.shard, self.device, epoch, self._on_device(epoch))
        inner_steps = schedule.inner_steps_at(epoch)
        coefficients = at(objective.alpha, epoch), objective.beta_at(epoch, schedule.epochs)
        numbers: dict[str, float] = {
            "rate": schedule.rate_at(epoch),
            "inner_rate": schedule.inner_rate_at(epoch),
            "inner_steps": inner_steps,
            "beta": objective.beta_at(epoch, schedule.epochs),
        }
        losses = Losses()
        on_image = self.settings.meta.space == "image"
        one = Step(
            loss_at(objective, epoch, schedule.epochs),
            reward_of(objective),
            self.settings.images.swap,
            average_over_workers,
            inner_steps,
            on_image,
        )
        iterations, fusion_steps = schedule.meta_iterations, self._fusion_steps(batches)
        outer_ratio = at(self.settings.outer.ratio, epoch)
        speed, waits = _Speed(self.settings.images.batch), Waits()
        work = iterations * _META_COST + fusion_steps
        signals = EpochSignals(state, one, self.shard, iterations, fusion_steps)

        first = state.meta_steps
        steps = range(first, first + iterations)
        # On the image all K steps are of the same pictures.
        parts = 2 if on_image else inner_steps + 1
        ahead = read_ahead(lambda s: batches.draw("meta", s, parts), steps, waits)
        for step, drawn in zip(steps, ahead, strict=True):
            position = epoch + (step - first) / iterations
            inner_rate = schedule.inner_rate_at(position)
            rate = schedule.rate_at(position)
            images, noise = batches.ready(drawn)
            found = graphs.run(
                ("meta", inner_steps, batches.crop, coefficients),
                partial(one.meta, state),
                images=images,
                noise=noise,
                inner_rate=inner_rate,
                outer_rate=outer_ratio * rate,
            )
            losses.add(found)
            signals.after_meta_iteration(step - first + 1, images, noise, inner_rate)
            state.meta_steps = step + 1
            done = step - first + 1
            numbers["images_per_second"] = speed.after(parts)
            self._check_and_report(state, losses, numbers, "meta", done, iterations, done * _META_COST / work)

        first = state.fusion_steps
        steps = range(first, first + fusion_steps)
        for step, drawn in zip(steps, read_ahead(lambda s: batches.draw("fusion", s), steps, waits), strict=True):
            position = epoch + (step - first) / fusion_steps
            images, noise = batches.ready(drawn)
            signals.before_fusion_update(step - first + 1, images)
            found = graphs.run(
                ("fusion", batches.crop, coefficients),
                partial(one.fusion, state),
                images=images,
                noise=noise,
                rate=schedule.rate_at(position),
            )
            losses.add(found)
            state.fusion_steps = step + 1
            done = step - first + 1
            numbers["images_per_second"] = speed.after(1)
            fraction = (iterations * _META_COST + done) / work
            self._check_and_report(state, losses, numbers, "fusion", done, fusion_steps, fraction)
        # The wait for images is a part of time/training_seconds.
        local = losses.means() | signals.sums.means() | {"time/data_seconds": waits.seconds}
        numbers |= _mean_over_workers(local)
        for kind, text in signals.warnings(numbers):
            if kind not in self.said:
                self.said.add(kind)
                self.note(f"{self.task}, epoch {epoch + 1}: {text}")
        return numbers

    def _check_and_report(
        self,
        state: TrainingState,
        losses: Losses,
        numbers: dict[str, float],
        phase: str,
        done: int,
        of: int,
        fraction: float,
    ) -> None:
        """Stop where the parameters are not finite, else report the progress; only every few steps.

        Parameters are equal on all workers, so that all of them stop at the same step.
        """
        if done % _CHECK_EVERY and done != of and done != 1:
            return
        if not state.is_finite():
            raise TrainingDivergedError(
                f"{self.task}: the parameters stopped being finite numbers in epoch {state.epoch + 1} "
                f"({phase} step {done} of {of}); lower --schedule.rate or --schedule.inner_rate"
            )
        whole = fraction * (1 - _VALIDATION_SHARE)
        self._report(state.epoch, phase, done, of, whole, numbers | losses.means())

    def _report(
        self, epoch: int, phase: str, done: int, of: int, fraction: float, numbers: dict[str, float] | None = None
    ) -> None:
        whole = (epoch + min(fraction, 1.0)) / self.settings.schedule.epochs
        self.watch(Progress(epoch, phase, done, of, whole, numbers or {}))


def _mean_over_workers(numbers: dict[str, float]) -> dict[str, float]:
    parts = gather_on_all(numbers)
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
