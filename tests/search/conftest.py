"""Tune's controller as far as schedulers see it, with trials that train in no time; tiny sweeps and small pairs."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from ray.tune.experiment import Trial

from refusion.images.pair_check import find_and_check
from refusion.images.pairs import Pair
from refusion.images.writing import write_image
from refusion.search.manifest import SweepManifest, SweepRequest, open_manifest
from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.state import SweepState
from refusion.search.trials.training import TrialPlan
from refusion.tracking.store import open_store
from refusion.tracking.sweeps import start_sweep_run

Metrics = dict[str, float]
# (number, values, epoch, weights before it) → weights after it and what is measured of them.
Train = Callable[[int, Mapping[str, Any], int, float], tuple[float, Metrics]]


class StageTrial:
    """One of Tune's trials as far as schedulers see it."""

    def __init__(self, number: int, values: Mapping[str, Any]) -> None:
        self.config: dict[str, Any] = {"number": number, "values": dict(values), "start": "a folder"}
        self.trial_id, self.status, self.is_saving = f"id{number}", Trial.PENDING, False
        self.latest_checkpoint_result: Any = None

    def __str__(self) -> str:
        return f"toy_{self.trial_id}"

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_checkpoint(self, result: Any) -> None:
        self.latest_checkpoint_result = result

    def is_finished(self) -> bool:
        return self.status in (Trial.ERROR, Trial.TERMINATED)


class Stage:
    """Starts, pauses, stops and fails trials as Tune does, one report at a time.

    A trial's "weights" are one number, which its checkpoints hold.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.trials: dict[int, StageTrial] = {}
        self.weights: dict[int, float] = {}
        self.epochs: dict[int, int] = {}
        self.results: dict[int, dict[str, Any]] = {}

    def get_trials(self) -> list[StageTrial]:
        return list(self.trials.values())

    def add(self, *numbers: int, **values: float) -> Stage:
        for number in numbers:
            self.trials[number] = StageTrial(number, values)
            self.scheduler.on_trial_add(self, self.trials[number])
        return self

    def start(self, number: int) -> None:
        trial = self.trials[number]
        trial.status = Trial.RUNNING
        latest = trial.latest_checkpoint_result
        self.epochs[number] = latest.metrics["epoch"] if latest else 0
        self.weights[number] = latest.checkpoint if latest else 0.0

    def turn(self) -> int | None:
        """The trial that runs next, for which Tune asks at every turn of its loop."""
        chosen = self.scheduler.choose_trial_to_run(self)
        return chosen.config["number"] if chosen else None

    def report(self, number: int, epoch: int, done: bool = False, saves: bool = True, **metrics: float) -> str:
        """A result, as Tune passes it on; returns and follows the decision.

        Without ``saves`` a trial that is to pause still runs, until its checkpoint is saved by ``pause``.
        """
        trial = self.trials[number]
        trial.status = Trial.RUNNING
        result = {"number": number, "epoch": epoch, "training_iteration": epoch, "done": done, **metrics}
        self.epochs[number] = epoch
        self.results[number] = dict(result)
        decision = "STOP" if done else str(self.scheduler.on_trial_result(self, trial, result))
        if decision == "STOP":
            self.stop_trial(trial)
        elif decision == "PAUSE":
            trial.is_saving = True
            if saves:
                self.pause(number)
        else:
            assert decision == "CONTINUE"
        return decision

    def pause(self, number: int) -> None:
        trial = self.trials[number]
        metrics = {"epoch": self.epochs[number]}
        trial.on_checkpoint(SimpleNamespace(checkpoint=self.weights.get(number, 0.0), metrics=metrics))
        trial.status, trial.is_saving = Trial.PAUSED, False

    def stop_trial(self, trial: StageTrial) -> None:
        if trial.status == Trial.RUNNING:
            self.scheduler.on_trial_complete(self, trial, dict(self.results.get(trial.config["number"], {})))
        else:
            self.scheduler.on_trial_remove(self, trial)
        trial.status = Trial.TERMINATED

    def fail(self, number: int, again: bool = False) -> None:
        """An error; ``again``: Tune tries once more from the newest checkpoint."""
        trial = self.trials[number]
        trial.status, trial.is_saving = Trial.ERROR if again else Trial.RUNNING, False
        self.scheduler.on_trial_error(self, trial)
        trial.status = Trial.PENDING if again else Trial.ERROR
        if again:
            self.scheduler.on_trial_add(self, trial)

    def run(
        self, train: Train, slots: int = 2, seed: int = 0, fails: Mapping[int, int] | None = None
    ) -> dict[int, int]:
        """Train all to their ends, ``slots`` at a time, results in random order; the last epoch of each.

        ``fails``: trials that fail for good on their way to an epoch.
        """
        order = random.Random(seed)
        while not all(trial.is_finished() for trial in self.trials.values()):
            while len(self._with(Trial.RUNNING)) < slots:
                chosen = self.scheduler.choose_trial_to_run(self)
                chosen = chosen or next(iter(self._with(Trial.PENDING)), None)
                if chosen is None:
                    break
                self.start(chosen.config["number"])
            running = self._with(Trial.RUNNING)
            assert running, f"stuck at {self.epochs}"
            trial = order.choice(running)
            number = trial.config["number"]
            epoch = self.epochs[number] + 1
            if (fails or {}).get(number) == epoch:
                self.fail(number)
                continue
            self.weights[number], metrics = train(number, trial.config["values"], epoch, self.weights[number])
            self.report(number, epoch, **metrics)
        return dict(self.epochs)

    def _with(self, status: str) -> list[StageTrial]:
        return [trial for trial in self.trials.values() if trial.status == status]


@pytest.fixture
def stage() -> type[Stage]:
    return Stage


# What the driver's own parts share: a home of each test's own, a tiny sweep, small pairs, a store of MLflow.
BASE: dict[str, Any] = {
    "schedule": {
        "epochs": 4,
        "meta_iterations": 2,
        "fusion_steps": 2,
        "rate": {"kind": "constant", "value": 1e-3},
    },
    "images": {"crop": 16, "batch": 2},
    "network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8},
    "validation": {"pictures": 1},
}
SPACE: dict[str, Any] = {
    "schedule.rate.value": {"low": 1e-4, "high": 1e-2, "log": True},
    "schedule.inner_steps": {"low": 1, "high": 3},
    "objective.alpha": {"low": 0.25, "high": 4.0},
}
DIGESTS = {"IVIF": {"train": "11", "val": "22"}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("REFUSION_HOME", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="session")
def request_of() -> Callable[..., SweepRequest]:
    """Makes the request of a tiny sweep; options by keyword, ``base`` laid over the tiny one."""

    def ask(
        name: str | None = "first",
        base: Mapping[str, Any] | None = None,
        space: Mapping[str, Any] | None = None,
        request: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> SweepRequest:
        given = {"task": ["IVIF"], "objective": "Qabf", **options}
        places: dict[str, Any] = {"run_name": name, "space_file": "sweep.yaml", **(request or {})}
        return SweepRequest(given, [BASE, base or {}], SPACE if space is None else space, **places)

    return ask


@pytest.fixture
def sweep(request_of: Callable[..., SweepRequest]) -> Callable[..., SweepState]:
    """Begins a tiny sweep that is recorded nowhere but in its folder; takes what ``request_of`` takes."""

    def begin(*arguments: Any, **given: Any) -> SweepState:
        manifest = open_manifest(request_of(*arguments, **given))
        manifest.save(DIGESTS)
        return SweepState(
            manifest, Scoreboard(Objective.parse(manifest.options.objective, manifest.options.task)), "", ""
        )

    return begin


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("schema") / "mlflow.db"
    open_store(f"sqlite:///{file}", "schema")
    return file


@pytest.fixture
def recorded(sweep: Callable[..., SweepState], schema: Path, tmp_path: Path) -> Callable[..., SweepState]:
    """Begins a tiny sweep as ``sweep`` does, but also in an SQLite store of MLflow."""
    uri = f"sqlite:///{shutil.copy(schema, tmp_path / 'mlflow.db')}"

    def begin(*arguments: Any, **given: Any) -> SweepState:
        state = sweep(*arguments, request={"tracking_uri": uri}, **given)
        state.experiment_id = open_store(uri, state.manifest.experiment)
        base = state.manifest.base.model_dump(mode="json")
        tags = {"task": state.manifest.task}
        state.parent = start_sweep_run(uri, state.experiment_id, state.manifest.name, base, tags, {"trials": 3})
        return state

    return begin


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IVIF and MIF with 4 train and 3 val pairs each: a grey, b in colour, no two alike. Tests only read it."""
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    for task, (split, count), number in itertools.product(("IVIF", "MIF"), (("train", 4), ("val", 3)), range(4)):
        scene = random.integers(0, 256, (44, 52, 3), dtype=np.uint8)
        for side, image in (("a", scene[..., 0]), ("b", cv2.GaussianBlur(scene, (0, 0), 3.0))):
            path = folder / task / split / side / f"scene_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if number < count:
                write_image(path, np.ascontiguousarray(image))
    return folder


@pytest.fixture(scope="session")
def pairs(pair_folder: Path) -> dict[str, tuple[list[Pair], list[Pair]]]:
    """(train, val) pairs of each task."""
    return {
        task: (find_and_check(pair_folder, task, "train")[0], find_and_check(pair_folder, task, "val")[0])
        for task in ("IVIF", "MIF")
    }


@pytest.fixture(scope="session")
def plan_of(pairs: dict[str, tuple[list[Pair], list[Pair]]], pair_folder: Path) -> Callable[..., TrialPlan]:
    """The plan of a sweep's trials over the small pairs."""

    def plan(manifest: SweepManifest) -> TrialPlan:
        found = {task: pairs[task] for task in manifest.options.task}
        plain = {task: ([asdict(p) for p in train], [asdict(p) for p in val]) for task, (train, val) in found.items()}
        return TrialPlan(manifest.base.model_dump(mode="json"), manifest.space.plain(), plain, str(pair_folder), 1)

    return plan
