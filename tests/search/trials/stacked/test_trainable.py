"""A trial's own process passes calls on to its host, and a lost host on to Tune; Ray's calls are answered here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from refusion.errors import UserError
from refusion.search.trials.stacked import trainable
from refusion.search.trials.stacked.hosts import Place, TrialHosts
from refusion.search.trials.stacked.trainable import HostedTraining, HostLostError


class Remote:
    """An actor whose methods are called when their results are asked for."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._state, name)
        return SimpleNamespace(remote=lambda *arguments: lambda: method(*arguments))


class Host:
    """Answers as a host that has trained an epoch, or raises what it is told to."""

    def __init__(self, raises: Exception | None = None) -> None:
        self.raises = raises
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(*arguments: Any) -> Any:
            self.asked.append((name, *arguments))
            if self.raises is not None:
                raise self.raises
            return {"train_epoch": ({"Qabf": 0.5}, 1, True), "begin": (0, False), "load": (1, False)}.get(name)

        return answer


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[HostedTraining, list[Host]]]:
    """A training and the hosts that are started for it, of which the first ones raise at once what is given."""
    context = SimpleNamespace(
        get_actor_id=lambda: "me", get_node_id=lambda: "node", get_accelerator_ids=lambda: {"GPU": ["2"]}
    )
    calls = SimpleNamespace(get=lambda call: call(), get_runtime_context=lambda: context, exceptions=ray.exceptions)
    monkeypatch.setattr(trainable, "ray", calls)

    def make(*raised: Exception) -> tuple[HostedTraining, list[Host]]:
        coming, started = list(raised), list[Host]()

        def start(place: Place) -> Remote:
            assert place == Place("node", "2")
            started.append(Host(coming.pop(0) if coming else None))
            return Remote(started[-1])

        hosts = TrialHosts(start, lambda *_: None, lambda _: None, 2)
        return HostedTraining(Remote(hosts), 7, {"rate": 1}), started

    return make


def lost() -> Exception:
    return ray.exceptions.RayActorError()


def test_a_host_that_is_lost_before_the_trial_begins_is_replaced(hosted: Callable[..., Any]) -> None:
    training, started = hosted(lost())
    assert [host.asked for host in started] == [[("begin", "me", os.getpid(), 7, {"rate": 1})]] * 2
    assert (training.epoch, training.done) == (0, False)
    with pytest.raises(HostLostError):
        hosted(lost(), lost())


def test_a_host_that_is_lost_later_fails_the_trial_for_another_try(hosted: Callable[..., Any]) -> None:
    training, started = hosted()
    started[0].raises = lost()
    with pytest.raises(HostLostError, match=r"^the process that trains it and others was lost: "):
        training.train_epoch()
    again = HostedTraining(training.hosts, 7, {"rate": 1})
    assert len(started) == 2, "nobody enters the lost one"
    assert again.train_epoch() == {"Qabf": 0.5}
    assert (again.epoch, again.done) == (1, True)


def test_a_trials_end_comes_as_it_was_raised(hosted: Callable[..., Any]) -> None:
    training, started = hosted()
    started[0].raises = ray.exceptions.RayTaskError("load", "a traceback", UserError("x.png is gone"))
    with pytest.raises(UserError, match=r"^x\.png is gone$"):
        training.load(Path("folder"))
    assert started[0].asked[-1] == ("load", "me", "folder")
    started[0].raises = None
    training.load(Path("folder"))
    assert training.epoch == 1
