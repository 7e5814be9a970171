"""The end of a sweep: comparison, files and the registered model."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from refusion.images.pairs import Pair
from refusion.search.manifest import SweepRequest, open_manifest
from refusion.search.results import conclude as conclude_module
from refusion.search.results.conclude import Outcome, best_text, conclude
from refusion.search.results.held_out import TaskVal, score_pair
from refusion.search.state import SweepState
from refusion.search.trials.training import TrialCache, TrialPlan, TrialTraining
from refusion.tracking import recorder
from refusion.tracking.sweeps import read_sweep

Begin = Callable[..., SweepState]
Pairs = dict[str, tuple[list[Pair], list[Pair]]]
ONE_EPOCH = {"schedule": {"epochs": 1}}
DIGESTS = {"IVIF": "22", "MIF": "33"}
VALUES = {"schedule.rate.value": 3e-3, "schedule.inner_steps": 1, "objective.alpha": 1.0}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, list[str]]]:
    """Pairs are measured in this process, not over a cluster; who was measured on what."""
    measured: list[tuple[int, str, list[str]]] = []

    def score_all(
        wanted: Sequence[tuple[int, str, Mapping[str, Sequence[Pair]]]], threads: int, *_: object
    ) -> dict[int, dict[str, dict[str, float]]]:
        found: dict[int, dict[str, dict[str, float]]] = {}
        for number, checkpoint, pairs in wanted:
            found[number] = {}
            for task, of_task in pairs.items():
                measured.append((number, task, [pair.name for pair in of_task]))
                for pair in of_task:
                    scores = score_pair(checkpoint, task, asdict(pair), threads)
                    single = len(pairs) == 1
                    name = pair.name if single else f"{task}/{pair.name}"
                    found[number][name] = {key if single else f"{task}/{key}": value for key, value in scores.items()}
        return found

    monkeypatch.setattr(conclude_module, "score_all", score_all)
    return measured


Trained = tuple[Path, dict[int, dict[str, float]]]


@pytest.fixture(scope="module")
def trained(
    request_of: Callable[..., SweepRequest],
    plan_of: Callable[..., TrialPlan],
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """Checkpoints and numbers of trials 0 and 1 after one epoch on two tasks."""
    folder = tmp_path_factory.mktemp("trained")
    request = request_of(task=["IVIF", "MIF"], base=ONE_EPOCH, request={"storage": str(folder)})
    cache, numbers = TrialCache(plan_of(open_manifest(request))), {}
    for number, chosen in ((0, {}), (1, VALUES)):
        training = TrialTraining(cache, chosen)
        numbers[number] = training.train_epoch()
        training.save(folder / str(number))
    return folder, numbers


class Ending:
    """A sweep whose trials 0 and 1 were trained for one epoch each, on one task or on both."""

    def __init__(self, state: SweepState, trained: Trained, pairs: Pairs, held_out: int) -> None:
        self.state = state
        self.console = Console(file=io.StringIO(), width=200)
        tasks = state.manifest.options.task
        self.val = {
            task: TaskVal(pairs[task][1], pairs[task][1][held_out:], pairs[task][1][:held_out]) for task in tasks
        }
        folder, found = trained
        for number, chosen in ((0, {}), (1, VALUES)):
            state.begin(number, chosen)
            state.started(number)
            own = {key.removeprefix("IVIF/"): value for key, value in found[number].items() if key.startswith("IVIF/")}
            state.reported(number, 1, own if len(tasks) == 1 else found[number], 1.0)
            state.saved(number, 1, str(folder / str(number)))

    def with_best(self, number: int) -> Ending:
        """The numbers that the search saw, such that this trial is the best."""
        for other, record in self.state.records.items():
            for key in record.history[1]:
                if key.endswith("Qabf"):
                    record.history[1][key] = 0.9 if other == number else 0.1
        return self

    def conclude(self) -> Outcome | None:
        return conclude(self.state, self.val, DIGESTS, 1, self.console)

    @property
    def printed(self) -> str:
        return str(self.console.file.getvalue())  # type: ignore[attr-defined]

    @property
    def files(self) -> list[str]:
        return [name for name in self.state.manifest.folder.names() if name not in ("sweep.yaml", "trials")]

    @property
    def versions(self) -> dict[str, dict[str, str]]:
        """Tags of the registered models' versions, by model."""
        client = MlflowClient(tracking_uri=self.state.manifest.tracking_uri)
        return {version.name: dict(version.tags) for version in client.search_model_versions()}


@pytest.fixture
def ending(recorded: Begin, trained: Trained, pairs: Pairs, here: list[Any]) -> Callable[..., Ending]:
    return lambda held_out=2, **options: Ending(recorded(base=ONE_EPOCH, **options), trained, pairs, held_out)


def test_the_best_trial_is_compared_with_the_defaults_on_what_the_search_never_saw(
    ending: Callable[..., Ending], here: list[tuple[int, str, list[str]]], trained: Trained
) -> None:
    end = ending().with_best(1)
    outcome = end.conclude()
    assert outcome is not None
    assert (outcome.best, outcome.why_none) == (1, "")
    assert here == [(1, "IVIF", ["scene_0", "scene_1", "scene_2"]), (0, "IVIF", ["scene_0", "scene_1"])]
    assert outcome.comparison is not None
    assert outcome.comparison.pairs == 2
    found = outcome.comparison.metrics["Qabf"]
    folder, _ = trained
    ours, reference = (
        [score_pair(str(folder / number), "IVIF", asdict(pair), 1)["Qabf"] for pair in end.val["IVIF"].held_out]
        for number in ("1", "0")
    )
    assert (found.ours, found.reference) == pytest.approx((sum(ours) / 2, sum(reference) / 2))

    assert end.files == ["best.yaml", "comparison.json"]
    place = end.state.manifest.folder
    assert json.loads((place / "comparison.json").read_text()) == outcome.comparison.plain()
    assert outcome.best_file == (place / "best.yaml").uri
    stored = read_sweep(end.state.manifest.tracking_uri, end.state.manifest.experiment, "first")
    assert stored.best_yaml == best_text(end.state, 1) == (place / "best.yaml").read_text()
    assert stored.comparison == outcome.comparison.plain()
    assert stored.tags["best_trial"] == "1"


def test_the_model_is_registered_with_its_score_over_all_val_pairs(
    ending: Callable[..., Ending], trained: Trained
) -> None:
    end = ending().with_best(1)
    end.conclude()
    (tags,) = end.versions.values()
    place = str(trained[0] / "1")
    scores = [score_pair(place, "IVIF", asdict(pair), 1)["Qabf"] for pair in end.val["IVIF"].all]
    assert list(end.versions) == ["refusion-IVIF"]
    assert float(tags["score"]) == pytest.approx(sum(scores) / 3)
    assert "22" in tags.values()


def test_a_model_is_registered_for_every_task(ending: Callable[..., Ending]) -> None:
    end = ending(task=["IVIF", "MIF"]).with_best(1)
    outcome = end.conclude()
    assert sorted(end.versions) == ["refusion-IVIF", "refusion-MIF"]
    assert end.versions["refusion-IVIF"]["score"] != end.versions["refusion-MIF"]["score"]
    assert outcome is not None and outcome.comparison is not None
    assert outcome.comparison.pairs == 4
    assert {"IVIF/Qabf", "MIF/Qabf"} <= set(outcome.comparison.metrics)


@pytest.mark.parametrize(
    ("best", "held_out", "why"),
    [
        (0, 2, "no trial is better than trial 0, the base settings"),
        (1, 0, "no val pairs were held out (--held-out 0, or too few pairs)"),
    ],
)
def test_where_there_is_nothing_to_compare_that_is_said(
    ending: Callable[..., Ending], here: list[tuple[int, str, list[str]]], best: int, held_out: int, why: str
) -> None:
    end = ending(held_out).with_best(best)
    outcome = end.conclude()
    assert outcome is not None
    assert (outcome.best, outcome.comparison, outcome.why_none) == (best, None, why)
    assert [number for number, _, _ in here] == [best]
    assert end.files == ["best.yaml"]
    assert list(end.versions) == ["refusion-IVIF"]


def test_default_settings_that_did_not_come_as_far_are_no_yardstick(ending: Callable[..., Ending]) -> None:
    end = ending().with_best(1)
    end.state.records[0].history = {}
    outcome = end.conclude()
    assert outcome is not None
    assert outcome.why_none == "trial 0, the base settings, was not trained as far as the best trial"


def test_a_checkpoint_that_is_gone_costs_the_comparison_only(
    ending: Callable[..., Ending], here: list[Any], tmp_path: Path
) -> None:
    end = ending().with_best(1)
    end.state.records[0].checkpoints = {1: str(tmp_path / "gone")}
    outcome = end.conclude()
    assert outcome is not None
    assert (outcome.best, outcome.comparison) == (1, None)
    assert outcome.why_none == "the checkpoint of trial 0 is not there any more"
    assert end.files == ["best.yaml"]
    assert [number for number, _, _ in here] == [1]
    assert list(end.versions) == ["refusion-IVIF"]


def test_a_store_that_is_away_is_told_and_costs_no_result(
    ending: Callable[..., Ending], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "FINISH_PAUSES", ())
    end = ending().with_best(1)
    (tmp_path / "mlflow.db").write_bytes(b"no database")
    outcome = end.conclude()
    assert outcome is not None
    assert outcome.comparison is not None
    assert end.files == ["best.yaml", "comparison.json"]
    assert "warning: the results could not be written to MLflow (" in end.printed


def test_without_any_result_there_is_no_best_trial(sweep: Begin) -> None:
    state = sweep()
    state.begin(0, {})
    assert conclude(state, {}, {}, 1, Console(file=io.StringIO())) is None
    assert (state.manifest.folder / "best.yaml").exists() is False
