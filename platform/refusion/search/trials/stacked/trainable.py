"""A trial whose training runs in a process that it shares with others; its own process only passes calls on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray

from refusion.search.trials.stacked.hosts import Place
from refusion.search.trials.trainable import Trial
from refusion.search.trials.training import TrialPlan

# Seconds that an end waits for.
_PATIENCE = 10.0


class HostLostError(RuntimeError):
    """The process that trained a trial was lost, with all others in it: Tune tries each of them again."""


class HostedTraining:
    """A training in a host, for the process that Tune knows.

    Args:
        hosts: the actor that knows them.
        number: of the trial.
        values: what the search chose.

    Raises:
        UserError: the values do not go together.
        HostLostError: the host ended twice in a row before it could begin.
    """

    def __init__(self, hosts: Any, number: int, values: Mapping[str, Any]) -> None:
        self.hosts = hosts
        self.key = ray.get_runtime_context().get_actor_id()
        try:
            self._begin(number, values)
        except HostLostError:
            # Nothing is lost with it yet.
            self._begin(number, values)

    def _begin(self, number: int, values: Mapping[str, Any]) -> None:
        self.host_number, self.host = ray.get(self.hosts.enter.remote(self.key, _place()))
        self.epoch, self.done = self._call("begin", os.getpid(), number, dict(values))

    def train_epoch(self) -> dict[str, float]:
        """As `TrialTraining.train_epoch`."""
        numbers, self.epoch, self.done = self._call("train_epoch")
        return dict(numbers)

    def save(self, folder: Path) -> None:
        """As `TrialTraining.save`."""
        self._call("save", str(folder))

    def load(self, folder: Path) -> None:
        """As `TrialTraining.load`."""
        self.epoch, self.done = self._call("load", str(folder))

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(self.host, method).remote(self.key, *arguments))
        except ray.exceptions.RayTaskError as error:
            # As it was raised there: a trial's end is told from a failure by the kind of the exception.
            raise (error.cause or error) from None
        except ray.exceptions.RayActorError as error:
            ray.get(self.hosts.lost.remote(self.host_number))
            raise HostLostError(f"the process that trains it and others was lost: {_first_line(error)}") from None


class StackedTrial(Trial):
    """Trial in a slot of a host on the node, and the GPU, where Ray has given it a share."""

    def setup(
        self,
        config: dict[str, Any],
        plan: TrialPlan | None = None,
        progress_board: Any = None,
        folder: str = "",
        hosts: Any = None,
    ) -> None:
        """As `Trial.setup`, with the actor that knows the hosts."""
        self.hosts = hosts
        super().setup(config, plan, progress_board, folder)

    def make_training(self, values: Mapping[str, Any]) -> HostedTraining:
        """The training, in the host."""
        return HostedTraining(self.hosts, self.number, values)

    def cleanup(self) -> None:
        """Leave the host, which ends with its last trial."""
        # Where they are gone, so are the hosts.
        with suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            ray.get(self.hosts.leave.remote(ray.get_runtime_context().get_actor_id()), timeout=_PATIENCE)


def _place() -> Place:
    context = ray.get_runtime_context()
    gpus = context.get_accelerator_ids().get("GPU", [])
    return Place(context.get_node_id(), str(gpus[0]) if gpus else "")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
