from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from refusion.errors import TrainingDivergedError, UserError
from refusion.meta import phases
from refusion.search.manifest import SweepManifest, SweepRequest, open_manifest
from refusion.search.trials.stacked.host import TrialHost
from refusion.search.trials.training import TrialCache, TrialPlan, TrialTraining

RATE, STEPS, ALPHA = "schedule.rate.value", "schedule.inner_steps", "objective.alpha"
# Of different numbers of inner steps, which one shape of a step could not serve.
TRIALS: list[dict[str, Any]] = [{}, {RATE: 2e-3, STEPS: 2}, {RATE: 5e-4, ALPHA: 0.5}]
EPOCHS = 2
HERE = os.getpid()


@pytest.fixture
def plan(
    request_of: Callable[..., SweepRequest], plan_of: Callable[..., TrialPlan], pair_folder: Path
) -> Callable[[Mapping[str, Any]], TrialPlan]:
    def make(base: Mapping[str, Any]) -> TrialPlan:
        small = {"data": str(pair_folder), "validation": {"images": 1}}
        manifest: SweepManifest = open_manifest(request_of(base={**small, **base}))
        return plan_of(manifest)

    return make


def weights_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "IVIF").glob("*.safetensors"))}


def alone(plan: TrialPlan, values: Mapping[str, Any], folder: Path, epochs: int = EPOCHS) -> dict[str, float]:
    """Numbers of the last epoch of a trial by itself, which leaves its checkpoint in the folder."""
    training = TrialTraining(TrialCache(plan), values)
    numbers: dict[str, float] = {}
    for _ in range(epochs):
        numbers = training.train_epoch()
    folder.mkdir()
    training.save(folder)
    return numbers


def together(host: TrialHost, folder: Path, epochs: int = EPOCHS) -> list[dict[str, float]]:
    """The same of all trials at once, each in a thread."""
    meeting = threading.Barrier(len(TRIALS), timeout=60)

    def one(number: int) -> dict[str, float]:
        host.begin(str(number), HERE, number, TRIALS[number])
        meeting.wait()
        numbers: dict[str, float] = {}
        for _ in range(epochs):
            numbers, _, _ = host.train_epoch(str(number))
        place = folder / f"together_{number}"
        place.mkdir()
        host.save(str(number), str(place))
        return numbers

    with ThreadPoolExecutor(len(TRIALS)) as pool:
        return list(pool.map(one, range(len(TRIALS))))


class AtATime:
    """Counts how many threads are in a function at a time."""

    def __init__(self) -> None:
        self.inside, self.most, self.lock = 0, 0, threading.Lock()

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **given: Any) -> Any:
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            try:
                return function(*arguments, **given)
            finally:
                with self.lock:
                    self.inside -= 1

        return counted


@pytest.mark.slow
@pytest.mark.parametrize("space", ["image", "parameters"])
def test_each_of_several_trials_at_once_becomes_what_it_would_alone(
    plan: Callable[..., TrialPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str
) -> None:
    one = plan({"meta": {"space": space}, "schedule": {"epochs": EPOCHS}})
    in_forward_mode = AtATime()
    monkeypatch.setattr(phases, "meta_gradient_along", in_forward_mode.of(phases.meta_gradient_along))
    found = together(TrialHost(one, None, len(TRIALS)), tmp_path)
    # PyTorch's forward mode is the process's: two at a time would end each other's.
    assert in_forward_mode.most == (1 if space == "parameters" else 0)
    for number, values in enumerate(TRIALS):
        expected = alone(one, values, tmp_path / f"alone_{number}")
        assert weights_in(tmp_path / f"together_{number}") == weights_in(tmp_path / f"alone_{number}")
        same = [name for name in expected if not name.endswith(("_seconds", "_per_second"))]
        assert {"Qabf", "rate", "loss/outer"} <= set(same)
        assert {name: found[number][name] for name in same} == {name: expected[name] for name in same}
    assert len({tuple(weights_in(tmp_path / f"together_{number}").values()) for number in range(len(TRIALS))}) > 2


def test_a_trial_goes_on_either_way_from_a_checkpoint_of_the_other(
    plan: Callable[..., TrialPlan], tmp_path: Path
) -> None:
    one = plan({"schedule": {"epochs": EPOCHS}})
    alone(one, TRIALS[1], tmp_path / "whole")
    alone(one, TRIALS[1], tmp_path / "half", epochs=1)
    host = TrialHost(one, None, 2)
    host.begin("a", HERE, 1, TRIALS[1])
    assert host.load("a", str(tmp_path / "half")) == (1, False)
    assert host.train_epoch("a")[1:] == (2, True)
    (tmp_path / "hosted").mkdir()
    host.save("a", str(tmp_path / "hosted"))
    assert weights_in(tmp_path / "hosted") == weights_in(tmp_path / "whole")

    host.begin("b", HERE, 1, TRIALS[1])
    host.train_epoch("b")
    (tmp_path / "hosted_half").mkdir()
    host.save("b", str(tmp_path / "hosted_half"))
    training = TrialTraining(TrialCache(one), TRIALS[1])
    training.load(tmp_path / "hosted_half")
    training.train_epoch()
    (tmp_path / "went_on").mkdir()
    training.save(tmp_path / "went_on")
    assert weights_in(tmp_path / "went_on") == weights_in(tmp_path / "whole")


def test_a_trial_takes_over_the_weights_of_another_with_other_values(
    plan: Callable[..., TrialPlan], tmp_path: Path
) -> None:
    host = TrialHost(plan({"schedule": {"epochs": EPOCHS}}), None, 2)
    host.begin("donor", HERE, 1, TRIALS[1])
    host.train_epoch("donor")
    (tmp_path / "donor").mkdir()
    host.save("donor", str(tmp_path / "donor"))
    host.begin("copy", HERE, 2, TRIALS[2])
    host.load("copy", str(tmp_path / "donor"))
    (tmp_path / "copy").mkdir()
    host.save("copy", str(tmp_path / "copy"))
    assert weights_in(tmp_path / "copy") == weights_in(tmp_path / "donor")
    numbers, epoch, _ = host.train_epoch("copy")
    assert (epoch, numbers["rate"]) == (2, TRIALS[2][RATE])


def test_one_trial_that_fails_leaves_the_others(
    plan: Callable[..., TrialPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = TrialHost(plan({"schedule": {"epochs": EPOCHS}}), None, 4)
    for key in ("good", "diverged", "wrong", "broken"):
        host.begin(key, HERE, 1, {})

    def raises(error: Exception) -> Callable[[], dict[str, float]]:
        def train() -> dict[str, float]:
            raise error

        return train

    for key, error in (
        ("diverged", TrainingDivergedError("no numbers")),
        ("wrong", UserError("a file is gone")),
        ("broken", RuntimeError("out of memory")),
    ):
        monkeypatch.setattr(host._slots[key].training, "train_epoch", raises(error))
        with pytest.raises(type(error), match=str(error)):
            host.train_epoch(key)
    assert host.train_epoch("good")[1] == 1
    # Those that ended by themselves stay for their last checkpoint; the broken one's memory is needed.
    assert host.keys == {"good", "diverged", "wrong"}
    host.drop("good")
    host.drop("good")
    assert host.keys == {"diverged", "wrong"}


def test_slots_of_processes_that_are_gone_are_free_again(plan: Callable[..., TrialPlan]) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    host = TrialHost(plan({}), None, 2)
    host.begin("a", gone.pid, 1, {})
    host.begin("b", HERE, 2, {})
    gone.wait()
    host.begin("c", HERE, 3, {})
    assert host.keys == {"b", "c"}


def test_trials_at_once_share_the_images_and_the_threads(plan: Callable[..., TrialPlan]) -> None:
    before = torch.get_num_threads()
    one = plan({})
    four = TrialPlan(one.base, one.space, one.pairs, one.data_folder, threads=4)
    try:
        TrialHost(four, None, 2)
        assert torch.get_num_threads() == 2
        host = TrialHost(four, None, 8)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    for key in ("a", "b"):
        host.begin(key, HERE, 1, {})
    caches = {id(slot.training.cache) for slot in host._slots.values() if slot.training is not None}
    assert caches == {id(host.cache)}


def test_the_gpu_of_its_trials_is_the_one_that_it_sees(
    plan: Callable[..., TrialPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    TrialHost(plan({}), None, 2, gpu="3")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize(("usable", "left"), [(True, []), (False, [1])])
def test_the_process_ends_where_a_fault_has_left_its_gpu_unusable(
    plan: Callable[..., TrialPlan], monkeypatch: pytest.MonkeyPatch, usable: bool, left: list[int]
) -> None:
    def synchronize() -> None:
        if not usable:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    ended: list[int] = []
    host = TrialHost(plan({}), None, 2, leave=ended.append)
    host.begin("a", HERE, 1, {})
    host._slots["a"].training = SimpleNamespace(train_epoch=_broken)  # type: ignore[assignment]
    host._slots["a"].stream = None
    with pytest.raises(RuntimeError, match="illegal"):
        host.train_epoch("a")
    assert ended == [], "without a GPU there is nothing to look after"
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    host._check_gpu()
    assert ended == left


def _broken() -> dict[str, float]:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
