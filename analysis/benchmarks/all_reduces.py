"""Watches the all-reduces of a training's loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch

from refusion.meta.steps import Step
from refusion.runtime.distributed import average_over_workers
from refusion.training import step_graphs

META, FUSION = "meta-iteration", "fusion update"


@dataclass
class AllReduces:
    """Stands in the place of ``average_over_workers``: how long they took, and how many bytes each step gave them."""

    seconds: float = 0.0
    bytes_of: dict[str, list[int]] = field(default_factory=dict)
    _step: list[int] = field(default_factory=list)

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        begun = time.perf_counter()
        mean = average_over_workers(flat)
        self.seconds += time.perf_counter() - begun
        self._step.append(flat.nbytes)
        return mean

    def noted(self, phase: str, step: Callable[..., Any]) -> Callable[..., Any]:
        """The same step, noting what it gave; the last one of a phase stays in ``bytes_of``."""

        def noting(*arguments: Any, **named: Any) -> Any:
            self.bytes_of[phase] = self._step = []
            return step(*arguments, **named)

        return noting

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, the training's loop uses these."""
        with ExitStack() as stack:
            for name, phase in (("meta", META), ("fusion", FUSION)):
                stack.enter_context(patch.object(Step, name, self.noted(phase, getattr(Step, name))))
            stack.enter_context(patch.object(step_graphs, "average_over_workers", self))
            yield
