"""Processes that are lost while they turn to their next trial, under the real Tune."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune import tune as tunes_run

from refusion.config.layers import check
from refusion.runtime import cluster
from refusion.runtime.ray_internals import losses_counted_once
from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.factory import make_scheduler
from refusion.search.space.space import Space

# A trial that is never given a process again would wait for ever.
pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

RATE = "schedule.rate.value"
BASE = check([{"schedule": {"rate": {"kind": "constant", "value": 1e-3}}}])
SPACE = Space.read({RATE: {"low": 1e-4, "high": 1e-2, "log": True}})
EPOCHS = 4


class Fragile(tune.Trainable):  # type: ignore[misc]
    """Weights are one number that grows with the rate; of its processes' turns to a next trial some are their last."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        turns = Path(new_config["turns"])
        with turns.open("a") as file:
            file.write(f"{new_config['number']}\n")
        if len(turns.read_text().splitlines()) in new_config["lost"]:
            os._exit(1)
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.number, self.rate = config["number"], config["values"][RATE]
        self.epoch, self.weights = 0, 0.0

    def step(self) -> dict[str, Any]:
        self.epoch, self.weights = self.epoch + 1, self.weights + self.rate
        return {"number": self.number, "epoch": self.epoch, "SSIM": self.weights, "done": self.epoch == EPOCHS}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "weights.json").write_text(json.dumps([self.epoch, self.weights]))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.epoch, self.weights = json.loads((Path(checkpoint) / "weights.json").read_text())


class Witness(tune.Callback):  # type: ignore[misc]
    """Notes each trial that is tried again, and each that is given up."""

    def __init__(self) -> None:
        self.again: list[int] = []
        self.given_up: list[int] = []

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.again.append(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.given_up.append(trial.config["number"])


@pytest.fixture(scope="module", autouse=True)
def one_place() -> Iterator[None]:
    """A Ray with one CPU, so that its one process turns from trial to trial."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        # Workers cannot import this module.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        cluster._close_to_others()
        ray.init("local", num_cpus=1, logging_level="WARNING", include_dashboard=False)
        yield
        ray.shutdown()


@dataclass
class Sweep:
    """Epochs and weights of the trials that came to an end, what befell the others, and who was turned to."""

    ended: dict[int, tuple[int, float]]
    witness: Witness
    turns: list[int]


def sweep(folder: Path, kind: Any, trials: int, lost: Collection[int] = (), retries: int = 1) -> Sweep:
    """Run trials, of which each process that makes one of the turns ``lost``, counted from 1, ends in it."""
    folder.mkdir(exist_ok=True)
    scheduler = make_scheduler(
        kind, Scoreboard(Objective.parse("SSIM", ["IVIF"])), epochs=EPOCHS, interval=1, space=SPACE, base=BASE
    )
    witness, turns = Witness(), folder / "turns"
    tuner = tune.Tuner(
        tune.with_resources(Fragile, {"CPU": 1}),
        param_space={
            "number": tune.grid_search(list(range(trials))),
            "values": tune.sample_from(lambda config: SPACE.sample(random.Random(f"start {config['number']}"))),
            "turns": str(turns),
            "lost": list(lost),
        },
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            callbacks=[witness],
        ),
    )
    with losses_counted_once():
        results = tuner.fit()
    ended = {one.config["number"]: (one.metrics["epoch"], one.metrics["SSIM"]) for one in results if not one.error}
    return Sweep(ended, witness, [int(line) for line in turns.read_text().splitlines()])


def test_a_lost_process_counts_once(tmp_path: Path) -> None:
    done = sweep(tmp_path, "none", trials=2, lost=[1], retries=1)
    assert {number: epoch for number, (epoch, _) in done.ended.items()} == {0: EPOCHS, 1: EPOCHS}
    assert (done.witness.again, done.witness.given_up) == ([1], [])


def test_a_trial_without_retries_is_given_up_once(tmp_path: Path) -> None:
    done = sweep(tmp_path, "none", trials=3, lost=[1], retries=0)
    assert sorted(done.ended) == [0, 2]
    assert (done.witness.again, done.witness.given_up) == ([], [1])


@pytest.mark.parametrize(("kind", "turns"), [("hyperband", [2, 4]), ("pbt", [2, 7, 9])])
def test_trials_that_wait_for_others_end_as_if_no_process_was_lost(tmp_path: Path, kind: Any, turns: list[int]) -> None:
    whole = sweep(tmp_path / "whole", kind, trials=6)
    torn = sweep(tmp_path / "torn", kind, trials=6, lost=turns, retries=3)
    assert torn.witness.again == [torn.turns[turn - 1] for turn in turns]
    assert torn.witness.given_up == []
    assert torn.ended == whole.ended


def test_tunes_own_loop_is_back_afterwards() -> None:
    tunes_own = tunes_run.TuneController
    with pytest.raises(KeyError), losses_counted_once():
        assert tunes_run.TuneController is not tunes_own and issubclass(tunes_run.TuneController, tunes_own)
        raise KeyError
    assert tunes_run.TuneController is tunes_own
