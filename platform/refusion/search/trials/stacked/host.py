"""The process that trains several trials at a time, each in a thread and, on a GPU, in a stream of its own.

A small step leaves most of a GPU idle, and processes that share one take turns on it. Streams of one process do not,
and a step that is replayed as a graph costs its thread next to nothing. Each trial is a training like any other, so
that trials in one process may differ in everything that may be searched: shapes, K, schedules.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from refusion.errors import TrainingDivergedError, UserError
from refusion.images.dataset import make_available
from refusion.runtime.distributed import use_threads
from refusion.runtime.worker_environment import keep_freed_memory
from refusion.search.trials.trainable import ProgressReporter
from refusion.search.trials.training import TrialCache, TrialPlan, TrialTraining


@dataclass
class _Slot:
    """One trial's training, the stream it runs in, and the process that asks for it."""

    process: int
    stream: torch.cuda.Stream | None
    training: TrialTraining | None = None


class TrialHost:
    """State of the actor; a plain class, so that it is tested without Ray. Its methods may run at the same time.

    Args:
        plan: of all trials.
        progress_board: shows what trials do; None for none.
        together: how many trials it trains at a time, which share the plan's threads.
        gpu: the one it uses, as CUDA_VISIBLE_DEVICES names it; empty for none.
        leave: called where the GPU does not answer any more; ends the process.
    """

    def __init__(
        self,
        plan: TrialPlan,
        progress_board: Any,
        together: int,
        gpu: str = "",
        leave: Callable[[int], Any] = os._exit,
    ) -> None:
        logging.getLogger("ray").setLevel(logging.WARNING)
        if gpu:
            # Read when CUDA is first used; Ray gives none to an actor that does not ask for a share of one.
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        use_threads(max(1, plan.threads // together))
        keep_freed_memory()
        make_available(str(plan.base["data"]), Path(plan.data_folder))
        self.plan, self.progress_board, self.leave = plan, progress_board, leave
        self.cache = TrialCache(plan)
        self.device = torch.device("cuda" if plan.base["gpu"] else "cpu")
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.Lock()

    def begin(self, key: str, process: int, number: int, values: Mapping[str, Any]) -> tuple[int, bool]:
        """Make the training of a trial, in place of the one that had the same key; its epoch, and if it is done.

        Args:
            key: of the slot.
            process: id of the one that asks, on this machine: a slot is free again when that has ended.
            number: of the trial.
            values: what the search chose.

        Raises:
            UserError: the values do not go together.
        """
        with self._lock:
            self._slots.pop(key, None)
            self._slots = {other: slot for other, slot in self._slots.items() if _runs(slot.process)}
            on_gpu = self.device.type == "cuda"
            slot = _Slot(process, torch.cuda.Stream() if on_gpu else None)  # type: ignore[no-untyped-call]
            self._slots[key] = slot
        with self._at_work(key):
            watch = ProgressReporter(self.progress_board, number)
            slot.training = TrialTraining(self.cache, values, device=self.device, watch=watch)
            return slot.training.epoch, slot.training.done

    def train_epoch(self, key: str) -> tuple[dict[str, float], int, bool]:
        """Train for one epoch; its numbers, finished epochs, and if all are done.

        Raises:
            UserError, TrainingDivergedError: as `TrialTraining.train_epoch`.
        """
        with self._at_work(key) as training:
            numbers = training.train_epoch()
            return numbers, training.epoch, training.done

    def save(self, key: str, folder: str) -> None:
        """Write a whole checkpoint into a folder of this machine."""
        with self._at_work(key) as training:
            training.save(Path(folder))

    def load(self, key: str, folder: str) -> tuple[int, bool]:
        """Go on from a checkpoint, of whatever trial; finished epochs, and if all are done.

        Raises:
            UserError: it is damaged, or of other networks.
        """
        with self._at_work(key) as training:
            training.load(Path(folder))
            return training.epoch, training.done

    def drop(self, key: str) -> None:
        """Free a slot."""
        with self._lock:
            self._slots.pop(key, None)

    @property
    def keys(self) -> set[str]:
        """Keys of the slots that are taken."""
        return set(self._slots)

    @contextmanager
    def _at_work(self, key: str) -> Iterator[Any]:
        slot = self._slots[key]
        try:
            # Without a stream this does nothing.
            with torch.cuda.stream(slot.stream):
                yield slot.training
                if slot.stream is not None:
                    slot.stream.synchronize()
        except (UserError, TrainingDivergedError):
            raise
        except Exception:
            self.drop(key)
            if slot.stream is not None:
                self._check_gpu()
            raise

    def _check_gpu(self) -> None:
        """End the process where a kernel's fault has left its GPU unusable for all its trials, present and later."""
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            logging.getLogger(__name__).warning("a trial's fault took its GPU's process with it; its trials go on")
            self.leave(1)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
