"""Record of a step as CUDA graphs: one, or several with calls in between that no graph can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol, TypeVar

import torch

T = TypeVar("T")
Call = Callable[[], object]


class Recording(Protocol):
    """Record of one step, of which every replay reads and writes the same memory."""

    def warming_up(self) -> AbstractContextManager[object]:
        """Opens the place for runs before the record, which must not show in it."""

    def record(self, step: Callable[[], T]) -> T:
        """Records the step, whose results every replay fills anew.

        Raises:
            RuntimeError: the step does what cannot be recorded, such as waiting for the device.
        """

    def apart(self, call: Call) -> None:
        """Keeps a call out of the record, from within the step: each replay makes it in its place."""

    def replay(self) -> None:
        """Does what was recorded."""


class CudaRecording:
    """Record of a step as CUDA graphs, which share their memory: they are always replayed in their order."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._parts: list[Call] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self._open: AbstractContextManager[None] | None = None

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Opens a stream of its own."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            here.wait_stream(self.stream)

    def record(self, step: Callable[[], T]) -> T:
        """Captures the step."""
        try:
            # Within the stream, so that a graph that cannot be closed leaves the stream of before as the current one.
            with torch.cuda.stream(self.stream):
                self._begin()
                try:
                    results = step()
                except BaseException:
                    with suppress(RuntimeError):
                        self._end()
                    raise
                self._end()
        finally:
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return results

    def apart(self, call: Call) -> None:
        """Ends one graph and begins the next."""
        self._end()
        self._parts.append(call)
        self._begin()

    def replay(self) -> None:
        """Launches the graphs, with the calls between them."""
        for part in self._parts:
            part()

    def _begin(self) -> None:
        pool = None if self._graph is None else self._graph.pool()
        self._graph = torch.cuda.CUDAGraph()
        self._open = torch.cuda.graph(self._graph, pool=pool, stream=self.stream, capture_error_mode="thread_local")
        self._open.__enter__()

    def _end(self) -> None:
        assert self._open is not None and self._graph is not None
        self._open.__exit__(None, None, None)
        self._parts.append(self._graph.replay)
