"""A sweep whose trials train in one process gives what each of them gives by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from sweep_jobs import BASE, SPACE, job, recorded, records
from written_pairs import write_pairs

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.dataset import check_pairs
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.search.results.held_out import split_val
from refusion.search.space.space import Space
from refusion.search.trials.records import TrialRecord
from refusion.training.loop import TaskTraining

pytestmark = pytest.mark.ray

EPOCHS = 2
TINY = {
    **BASE,
    "schedule": {**BASE["schedule"], "epochs": EPOCHS},
    "images": {"crop": 16, "batch": 2},
    "network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small pairs to train on and two to validate. Tests only read them."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder, "IVIF", "train", 4)
    write_pairs(folder, "IVIF", "val", 2, seed=1)
    return folder


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("stacked") / "space.yaml"
    file.write_text(yaml.safe_dump({"base": TINY, "space": SPACE, "sweep": {"task": ["IVIF"]}}))
    return file


def weights_of(record: TrialRecord) -> dict[str, dict[str, torch.Tensor]]:
    """Modules of a trial's last checkpoint, by their files."""
    folder = Path(record.checkpoints[EPOCHS]) / "IVIF"
    return {path.stem: safetensors.torch.load_file(path) for path in sorted(folder.glob("*.safetensors"))}


def trained_alone(data: Path, settings: Settings, held_out: float) -> tuple[dict[str, Any], Mapping[str, float]]:
    """Modules and the last epoch's numbers of one training by itself, on the pairs that the sweep's trials saw."""
    (pairs,) = check_pairs(str(data), ("IVIF",), skip_bad=False)
    seen = split_val(pairs.val, held_out, settings.validation, settings.schedule.epochs).seen
    training = TaskTraining(settings, "IVIF", PairStore(pairs.train), PairStore(seen), Shard(), torch.device("cpu"))
    state = TrainingState(settings, "IVIF")
    reports = list(training.epochs(state))
    return {name: module.state_dict() for name, module in state.modules().items()}, reports[-1].numbers


def same(one: Mapping[str, Mapping[str, torch.Tensor]], other: Mapping[str, Mapping[str, torch.Tensor]]) -> bool:
    assert one.keys() == other.keys() == {"fusion", "loss_proposal", "reconstruction"}
    return all(
        one[module].keys() == other[module].keys()
        and all(torch.allclose(value, other[module][name], rtol=0, atol=1e-5) for name, value in one[module].items())
        for module in one
    )


def test_trials_of_which_three_train_in_one_process_become_what_each_becomes_alone(
    home: Path, data: Path, tiny_file: Path
) -> None:
    # The last two train in places that others have left.
    text = job(
        "--config", tiny_file, "--data", data, "--trials", 4, "--search", "random", "--scheduler", "none",
        "--max-concurrent", 3, "--trials-per-gpu", 3, "--run-name", "stacked",
    )  # fmt: skip
    assert "4 trials and trial 0, 3 at a time, 3 in a process of 1 thread" in text
    trials = records(home, "stacked")
    assert {record.ended for record in trials.values()} == {"finished"} and len(trials) == 5, text
    base, space = check([TINY, {"tasks": ["IVIF"], "data": str(data)}]), Space.read(SPACE)
    held_out = recorded(home, "stacked").spec["options"]["held_out"]
    for number, record in trials.items():
        alone, numbers = trained_alone(data, check([space.settings(record.values)], base), held_out)
        kept = weights_of(record)
        assert same(kept, alone), number
        told = record.history[EPOCHS]
        assert {name: told[name] for name in ("SSIM", "Qabf", "VIF", "SCD")} == pytest.approx(
            {name: numbers[name] for name in ("SSIM", "Qabf", "VIF", "SCD")}, abs=1e-5
        )
    assert not same(weights_of(trials[1]), weights_of(trials[2]))
    assert {trial.number: trial.ended for trial in recorded(home, "stacked").trials} == dict.fromkeys(
        range(5), "finished"
    )


def test_a_population_in_one_process_exchanges_and_goes_on_in_processes_of_their_own(
    home: Path, data: Path, tiny_file: Path
) -> None:
    job(
        "--config", tiny_file, "--data", data, "--trials", 3, "--scheduler", "pbt", "--interval", 1,
        "--trials-per-gpu", 4, "--run-name", "stacked-pbt",
    )  # fmt: skip
    trials = records(home, "stacked-pbt")
    assert {record.ended for record in trials.values()} == {"finished"}
    (copied,) = (record for record in trials.values() if any(entry["from"] is not None for entry in record.lineage))
    base, space = check([TINY, {"tasks": ["IVIF"], "data": str(data)}]), Space.read(SPACE)
    donor = trials[copied.lineage[-1]["from"]]
    first, then = (check([space.settings(values)], base) for values in (donor.lineage[0]["values"], copied.values))
    assert first != then
    alone = replayed(data, first, then, recorded(home, "stacked-pbt").spec["options"]["held_out"])
    assert same(weights_of(copied), alone)


def replayed(data: Path, first: Settings, then: Settings, held_out: float) -> dict[str, Any]:
    """Modules after an epoch by some settings and another by others."""
    (pairs,) = check_pairs(str(data), ("IVIF",), skip_bad=False)
    seen = split_val(pairs.val, held_out, first.validation, EPOCHS).seen
    state = TrainingState(first, "IVIF")
    for settings in (first, then):
        train, val = PairStore(pairs.train), PairStore(seen)
        next(TaskTraining(settings, "IVIF", train, val, Shard(), torch.device("cpu")).epochs(state))
    return {name: module.state_dict() for name, module in state.modules().items()}
