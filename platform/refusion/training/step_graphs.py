"""Steps of a training as CUDA graphs: captured once per shape and K, then replayed.

A small step is thousands of kernels of microseconds each, and a GPU waits for their launches most of the time. A graph
launches them all at once; numbers and order of the operations stay the same.

Several workers send the same messages in the same order whatever becomes of one's capture: none while they try, then
one on whether all have succeeded, then those of the step, between graphs on all of them or without graphs on all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from refusion.meta.adam import put_back, snapshot
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import average_over_workers, said_by_all, share_of_mean, sum_over_workers
from refusion.training.cuda_graphs import CudaRecording, Recording

Step = Callable[..., dict[str, Tensor]]
Input = Tensor | float | None

_WARM_UPS = 2
# Several trainings in one process may run at once, each in a thread and a stream of its own, but capture in turn.
_ONE_AT_A_TIME = threading.Lock()


class _Captured:
    """One step: its record, and the memory of its inputs and results. What the step refers to stays alive with it."""

    def __init__(
        self, record: Recording, step: Step, inputs: dict[str, Tensor | None], results: dict[str, Tensor]
    ) -> None:
        self.record = record
        self.step = step
        self.inputs = inputs
        self.results = results

    def replay(self, inputs: dict[str, Input]) -> dict[str, Tensor]:
        for name, value in inputs.items():
            place = self.inputs[name]
            if place is None or value is None:
                continue
            if isinstance(value, Tensor):
                place.copy_(value, non_blocking=True)
            else:
                place.fill_(value)
        self.record.replay()
        return self.results


class StepGraphs:
    """Runs a training's steps, on a GPU as graphs where that is possible.

    Args:
        state: which the steps change; its tensors must stay where they are while graphs are in use.
        device: of the training.
        note: called once with a line of text where steps cannot be captured.
        captures: whether to capture steps at all.
        recording: makes a record; CUDA graphs on a GPU, and elsewhere none, unless given.
    """

    def __init__(
        self,
        state: TrainingState,
        device: torch.device,
        note: Callable[[str], None],
        recording: Callable[[], Recording] | None = None,
        captures: bool = True,
    ) -> None:
        self.state = state
        self.device = device
        self.note = note
        self._make = recording or partial(CudaRecording, device)
        self.captures = captures and (recording is not None or device.type == "cuda")
        self._captured: dict[Hashable, _Captured] = {}
        self._open: Recording | None = None
        self._warms_up = False

    def run(self, key: Hashable, step: Step, **inputs: Input) -> dict[str, Tensor]:
        """Runs a step and returns its losses, which are valid until the next run.

        Args:
            key: equal where the same graph serves: the phase, and all numbers that the step does not take as inputs.
            step: takes the inputs by name; numbers among them reach it as float64 tensors of no dimension on a GPU. It
                averages over workers by `average`.
            inputs: tensors of the same shapes for the same key, numbers, or None.
        """
        if not self.captures:
            return step(**inputs)
        outer = self.state.outer
        after = (outer.count + 1) % outer.settings.accumulate
        if key not in self._captured and not self._capture_on_all(key, step, inputs):
            return step(**inputs)
        results = self._captured[key].replay(inputs)
        if "outer" in results:
            outer.count = after
        return results

    def average(self, flat: Tensor) -> Tensor:
        """Returns the mean over all workers, as `average_over_workers`; the all-reduce is left between two graphs."""
        mean = share_of_mean(flat) if self._warms_up or self._open is not None else None
        if mean is None:
            return average_over_workers(flat)
        if self._open is not None:
            self._open.apart(partial(sum_over_workers, mean))
        return mean

    def _capture_on_all(self, key: Hashable, step: Step, inputs: dict[str, Input]) -> bool:
        """Captures the step; where that fails on one worker all go on without graphs. Tells whether it is captured."""
        reason = "another worker could not"
        captured: _Captured | None = None
        try:
            with _ONE_AT_A_TIME:
                captured = self._capture(step, inputs)
        except RuntimeError as error:
            reason = (str(error).splitlines() or [""])[0]
        if said_by_all(captured is not None) and captured is not None:
            self._captured[key] = captured
            return True
        self.captures = False
        self._captured.clear()
        self.note(f"trains without CUDA graphs, only slower, since a step cannot be captured: {reason}")
        return False

    def _capture(self, step: Step, inputs: dict[str, Input]) -> _Captured:
        places = {name: self._place(value) for name, value in inputs.items()}
        saved, record = _Saved(self.state), self._make()
        try:
            # Of no lasting effect, so that each worker tries alone.
            self._warms_up = True
            with record.warming_up():
                for _ in range(_WARM_UPS):
                    step(**places)
                    saved.put_back()
            self._warms_up, self._open = False, record
            results = record.record(partial(step, **places))
        finally:
            self._warms_up, self._open = False, None
            self.state.outer.count = saved.count
        return _Captured(record, step, places, results)

    def _place(self, value: Input) -> Tensor | None:
        if value is None:
            return None
        if isinstance(value, Tensor):
            return value.to(self.device, copy=True)
        # In float64, so that products with other numbers round once, as without a graph.
        return torch.full((), value, dtype=torch.float64, device=self.device)


class _Saved:
    """Copies of all that a step changes, so that trying it leaves nothing behind."""

    def __init__(self, state: TrainingState) -> None:
        self.state = state
        self.parameters = [parameter.detach().clone() for parameter in self._all()]
        self.adams = [snapshot(adam) for adam in self._adams()]
        self.sums = [total.clone() for total in state.outer.sums]
        self.count, self.added = state.outer.count, state.outer.added.clone()

    @torch.no_grad()
    def put_back(self) -> None:
        for parameter, value in zip(self._all(), self.parameters, strict=True):
            parameter.copy_(value)
        for adam, moments in zip(self._adams(), self.adams, strict=True):
            put_back(adam, moments)
        for total, value in zip(self.state.outer.sums, self.sums, strict=True):
            total.copy_(value)
        self.state.outer.count = self.count
        self.state.outer.added.copy_(self.added)

    def _all(self) -> list[Any]:
        return [parameter for module in self.state.modules().values() for parameter in module.parameters()]

    def _adams(self) -> list[torch.optim.Adam]:
        outer = self.state.outer.adam
        return [self.state.fusion_adam, self.state.reconstruction_adam, *([outer] if outer is not None else [])]
