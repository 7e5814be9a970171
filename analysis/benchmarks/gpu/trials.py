"""Trials per hour of a sweep that trains several of them at a time in one process, each in a thread and a stream."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from gpu.rows import Row

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.device_store import pairs_on_device
from refusion.images.pairs import Pair
from refusion.images.store import PairStore
from refusion.images.writing import write_image
from refusion.meta.objective import loss_at, reward_of
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.runtime.distributed import Shard, average_over_workers
from refusion.training.batches import Batches
from refusion.training.epochs.phases import run_phases
from refusion.training.epochs.plan import plan_training
from refusion.training.epochs.sums import EpochSums
from refusion.training.signals import EpochSignals
from refusion.training.step_graphs import StepGraphs

TOGETHER = (1, 4, 16)
# Of a trial; an epoch is two more than a quick sweep's.
EPOCHS = 9
_TASK = "IVIF"
_PAIRS = 12


def settings_of(device: str) -> Settings:
    """A trial's settings: the default network on a GPU, and a miniature on the CPU."""
    if device == "cuda":
        schedule = {"epochs": EPOCHS, "meta_iterations": 60, "fusion_steps": 60}
        return check([{"schedule": schedule, "images": {"crop": 96, "batch": 4}}])
    return check(
        [
            {
                "schedule": {"epochs": EPOCHS, "meta_iterations": 2, "fusion_steps": 4},
                "images": {"crop": 16, "batch": 2},
                "network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8},
            }
        ]
    )


def measure(n: int, device: str) -> float:
    """Trials per hour of ``n`` trials at a time in this process; validation and what begins a trial are left out.

    Each trains an epoch that does not count, in which a GPU's graphs are captured, and then, all at once, one that
    does.
    """
    settings = settings_of(device)
    with tempfile.TemporaryDirectory() as folder:
        store = PairStore(random_pairs(Path(folder)))
        trials = [_Trial(settings, store, device) for _ in range(n)]
        meeting = threading.Barrier(n + 1)

        def train(trial: _Trial) -> None:
            trial.train_epoch()
            meeting.wait()
            trial.train_epoch()

        with ThreadPoolExecutor(n) as pool:
            running = [pool.submit(train, trial) for trial in trials]
            for one in running:
                # A trial that fails would leave the others waiting.
                one.add_done_callback(lambda done: meeting.abort() if done.exception() else None)
            try:
                meeting.wait()
            except threading.BrokenBarrierError:
                for one in running:
                    one.result()
            begun = time.perf_counter()
            for one in running:
                one.result()
            seconds = time.perf_counter() - begun
    return 3600 * n / (seconds * EPOCHS)


def trial_rows(device: str, together: Sequence[int] = ()) -> Iterator[Row]:
    """Trials per hour for each number of trials at a time; on the CPU fewer, unless given."""
    together = together or (TOGETHER if device == "cuda" else (*TOGETHER[:1], 2))
    alone = 0.0
    for n in together:
        per_hour = measure(n, device)
        alone = alone or per_hour
        note = f"{per_hour / alone:.2f} × {together[0]} at a time" if n != together[0] else ""
        yield Row("trials", f"{n} at a time in one process", per_hour, "per hour", note=note)


def random_pairs(folder: Path) -> list[Pair]:
    """Pairs of noise, which train as fast as any."""
    random, found = np.random.default_rng(0), []
    for number in range(_PAIRS):
        files = [folder / f"{number}_{side}.png" for side in "ab"]
        for file in files:
            write_image(file, random.integers(0, 256, (128, 160), dtype=np.uint8))
        found.append(Pair(str(number), str(files[0]), str(files[1]), 128, 160, digest=""))
    return found


class _Trial:
    """One training in a stream of its own, as far as its steps go."""

    def __init__(self, settings: Settings, store: PairStore, device: str) -> None:
        self.settings, self.store, self.device = settings, store, torch.device(device)
        self.stream = torch.cuda.Stream() if device == "cuda" else None  # type: ignore[no-untyped-call]
        with self._in_stream():
            self.state = TrainingState(settings, _TASK, self.device)
            self.graphs = StepGraphs(self.state, self.device, lambda text: print(text))
            crop = int(settings.images.crop)  # type: ignore[arg-type]
            self.pairs = pairs_on_device(store, crop, self.device, 1 << 30) if self.stream is not None else None

    def train_epoch(self) -> None:
        """The steps of one epoch; returns once the device is done."""
        settings, epoch = self.settings, self.state.epoch
        plan = plan_training(settings, len(self.store), 0)[epoch]
        batches = Batches(self.store, settings, _TASK, Shard(), self.device, epoch, self.pairs)
        step = Step(
            loss_at(settings.objective, epoch, settings.schedule.epochs),
            reward_of(settings.objective),
            settings.images.swap,
            average_over_workers,
            settings.schedule.inner_steps_at(epoch),
            settings.meta.space == "image",
        )
        signals = EpochSignals(self.state, step, Shard(), plan.meta_iterations, plan.fusion_updates)
        sums = EpochSums(signals, self.device)
        with self._in_stream():
            run_phases(settings, plan, self.state, batches, step, self.graphs, sums, lambda _phase, _numbers: None)
            if self.stream is not None:
                self.stream.synchronize()
        self.state.end_epoch()

    def _in_stream(self) -> AbstractContextManager[object]:
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)
