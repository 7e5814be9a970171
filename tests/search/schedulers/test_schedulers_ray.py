"""The schedulers under the real Tune, with trials that train in no time."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from one_ray import start_ray
from ray import tune
from ray.tune.search import Searcher

from refusion.config.layers import check
from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.factory import make_scheduler
from refusion.search.space.space import Space

pytestmark = pytest.mark.ray

BASE = check([{"schedule": {"rate": {"kind": "constant", "value": 1e-3}}}])
RATE = "schedule.rate.value"
SPACE = Space.read({RATE: {"low": 1e-4, "high": 1e-2, "log": True}, "schedule.inner_steps": {"low": 1, "high": 5}})


class Toy(tune.Trainable):  # type: ignore[misc]
    """Weights are one number that grows with the rate; its epochs and what they were trained with are kept beside."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.number, self.values = new_config["number"], new_config["values"]
        self.epochs = new_config["epochs"]
        self.weights: list[float] = []
        return True

    def step(self) -> dict[str, Any]:
        self.weights.append(self.values[RATE])
        total = sum(self.weights)
        return {
            "number": self.number,
            "epoch": len(self.weights),
            "SSIM": total,
            "Qabf": total - self.values["schedule.inner_steps"] / 1000,
            "weights": json.dumps(self.weights),
            "done": len(self.weights) == self.epochs,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "weights.json").write_text(json.dumps(self.weights))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.weights = json.loads((Path(checkpoint) / "weights.json").read_text())


class InTurn(Searcher):  # type: ignore[misc]
    """Hands out given configurations, as a sweep's searcher does."""

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        super().__init__()
        self.configs = list(configs)

    def suggest(self, trial_id: str) -> Any:
        return self.configs.pop(0) if self.configs else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One Ray for this module, and a folder for what Tune stores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        # Workers cannot import this module.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        start_ray(2, dashboard=False)
        yield tmp_path_factory.mktemp("tune")
        ray.shutdown()


def sweep(
    storage: Path, kind: Any, trials: int, epochs: int, **options: Any
) -> tuple[dict[int, Any], Scoreboard, list[Any]]:
    """Run trials 0 to ``trials``; Tune's trials by number, what the scoreboard knows, and the exchanges."""
    scoreboard, told = Scoreboard(Objective.parse("SSIM,Qabf", ["IVIF"])), list[Any]()
    scheduler = make_scheduler(
        kind, scoreboard, epochs=epochs, space=SPACE, base=BASE, on_exploit=lambda *what: told.append(what), **options
    )
    configs = [
        {"number": number, "epochs": epochs, "values": SPACE.sample(random.Random(f"start {number}"))}
        for number in range(trials + 1)
    ]
    tuner = tune.Tuner(
        tune.with_resources(Toy, {"CPU": 1}),
        tune_config=tune.TuneConfig(
            scheduler=scheduler, search_alg=InTurn(configs), num_samples=trials + 1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=str(storage),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        ),
    )
    results = tuner.fit()
    assert not results.errors
    return {result.config["number"]: result for result in results}, scoreboard, told


def test_asha(storage: Path) -> None:
    results, scoreboard, _ = sweep(storage, "asha", trials=6, epochs=4)
    ended = {number: result.metrics["epoch"] for number, result in results.items()}
    assert set(ended) == set(range(7)) and ended[0] == 4
    assert set(ended.values()) <= {1, 3, 4} and min(ended.values()) == 1
    assert {number: max(history) for number, history in scoreboard.histories.items()} == ended
    rates = {number: result.config["values"][RATE] for number, result in results.items()}
    assert ended[max(rates, key=rates.__getitem__)] == 4, "the best is never stopped"


def test_hyperband(storage: Path) -> None:
    results, scoreboard, _ = sweep(storage, "hyperband", trials=7, epochs=3)
    ended = {number: result.metrics["epoch"] for number, result in results.items()}
    # The bracket that stops nobody has two places, the next one three, the one after that two again.
    assert {ended[number] for number in (0, 1, 2, 6, 7)} == {3}
    members = {number: scoreboard.histories[number][1]["SSIM"] for number in (3, 4, 5)}
    best = max(members, key=members.__getitem__)
    assert {number for number in members if ended[number] == 3} == {best}
    assert {ended[number] for number in set(members) - {best}} == {1}


def test_a_scheduler_named_by_its_import_path(storage: Path) -> None:
    """Tune's own, of which each is one class on the public interface, decides by our scores."""
    results, scoreboard, _ = sweep(storage, "ray.tune.schedulers:AsyncHyperBandScheduler", trials=6, epochs=5)
    ended = {number: result.metrics["epoch"] for number, result in results.items()}
    assert set(ended) == set(range(7)) and ended[0] == 5
    # By default its rungs are 1 and 4.
    assert set(ended.values()) <= {1, 4, 5} and min(ended.values()) == 1
    assert {number: max(history) for number, history in scoreboard.histories.items()} == ended
    rates = {number: result.config["values"][RATE] for number, result in results.items() if number}
    assert ended[max(rates, key=rates.__getitem__)] == 5


@pytest.mark.parametrize("kind", ["pbt", "pb2"])
def test_pbt_and_pb2(storage: Path, kind: Any) -> None:
    results, scoreboard, told = sweep(storage, kind, trials=4, epochs=5, interval=2)
    assert [(trial > 0, donor > 0, epoch) for trial, donor, epoch, _ in told] == [(True, True, 2), (True, True, 4)]
    assert all(set(scoreboard.histories[number]) == set(range(1, 6)) for number in range(5))
    for result in results.values():
        start = [{"epoch": 0, "values": result.config["values"]}]
        lineage = result.config.get("lineage", start)
        in_force = [[c["values"][RATE] for c in lineage if c["epoch"] <= epoch][-1] for epoch in range(5)]
        assert json.loads(result.metrics["weights"]) == in_force, "the weights are those that the lineage tells of"
    if kind == "pb2":
        return
    again, _, told_again = sweep(storage, kind, trials=4, epochs=5, interval=2)
    assert told_again == told
    assert {n: one.config.get("lineage") for n, one in again.items()} == {
        n: one.config.get("lineage") for n, one in results.items()
    }
