"""Two sweeps as a sweep writes them, small and made of simple functions of the values, in a store of their own."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from refusion.images.writing import write_image
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.store import open_store
from refusion.tracking.sweeps import log_sweep_results, start_sweep_run, start_trial_run, trial_tags

BASE = {
    "tasks": ["IVIF"],
    "schedule": {"epochs": 9, "rate": {"kind": "step", "value": 1e-4, "every": 10}, "inner_steps": 1},
    "objective": {"alpha": 1.0, "beta": 1.0},
}
ASHA_SPACE: dict[str, Any] = {
    "schedule.rate.kind": ["constant", "step"],
    "schedule.rate.value": {"low": 1.0e-4, "high": 1.0e-2, "log": True},
    "schedule.rate.every": {"low": 1, "high": 5, "when": {"schedule.rate.kind": "step"}},
    "schedule.inner_steps": {"low": 1, "high": 5},
    "schedule.inner_rate": [{"kind": "tied", "ratio": 1.0}, {"kind": "constant", "value": 0.001}],
}
PBT_SPACE = {
    "schedule.rate.value": {"low": 1.0e-4, "high": 1.0e-2, "log": True},
    "schedule.inner_steps": {"low": 1, "high": 5},
}
COMPARISON = {
    "objective": "SSIM,Qabf,VIF,SCD",
    "kind": "rank",
    "pairs": 12,
    "unscored": 0,
    "metrics": {
        "SSIM": {
            "pairs": 12,
            "ours": 0.71,
            "reference": 0.66,
            "difference": {"mean": 0.05, "low": 0.02, "high": 0.08},
        },
        "EN": {"pairs": 0, "ours": None, "reference": None, "difference": {"mean": None, "low": None, "high": None}},
    },
    "gain": {"mean": 0.25, "low": 0.125, "high": 0.375},
    "better": True,
}


def scores(values: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """Returns metrics that are best near a rate of 1e-3 and K = 3 and grow with the epochs."""
    rate, steps = values.get("schedule.rate.value", 1e-4), values.get("schedule.inner_steps", 1)
    quality = math.exp(-((math.log10(rate) + 3) ** 2)) - 0.03 * (steps - 3) ** 2
    grown = 0.4 + 0.3 * quality * (1 - math.exp(-epoch / 3))
    return {
        "SSIM": grown,
        "Qabf": grown - 0.1 * (rate > 3e-3),
        "VIF": grown / 2 + 0.01 * steps,
        "SCD": 1 + quality / 4,
        "EN": 6 + rate * 10,
    }


def write_trial(
    uri: str,
    experiment: str,
    parent: str,
    name: str,
    number: int,
    values: dict[str, Any],
    ended: str,
    epochs: int,
    picture: Path | None = None,
) -> None:
    run = start_trial_run(uri, experiment, parent, name, "IVIF", number, BASE, trial_tags(values))
    recorder = TaskRecorder(uri, run)
    for epoch in range(1, epochs + 1):
        found = scores(values, epoch)
        if ended.startswith("diverged") and epoch == epochs:
            found = dict.fromkeys(found, math.nan)
        recorder.epoch(epoch, {**found, "rate": values.get("schedule.rate.value", 1e-4)})
    if picture is not None:
        pixels = np.add.outer(np.arange(40), np.arange(60) + 9 * number)
        pixels[10:20, 30:40] ^= 8 * number
        write_image(picture, (pixels % 256).astype(np.uint8))
        recorder.pictures(epochs, {"fused/head": picture})
    recorder.finish("FINISHED", trial_tags(ended=ended))


def write_asha(uri: str, experiment: str, folder: Path, name: str = "asha") -> None:
    spec = {
        "name": name, "tasks": ["IVIF"], "trials": 12, "epochs": 9, "space": ASHA_SPACE, "base": BASE,
        "objective": "SSIM,Qabf,VIF,SCD", "searcher": "tpe", "scheduler": "asha", "seed": 0, "concurrency": 2,
        "rungs": [1, 3],
    }  # fmt: skip
    tags = {"task": "IVIF", "searcher": "tpe", "scheduler": "asha", "objective": spec["objective"]}
    parent = start_sweep_run(uri, experiment, name, BASE, tags, spec)
    write_trial(uri, experiment, parent, name, 0, {}, "finished", 9, folder / "0.png")
    draw, qualities = random.Random(3), {0: 0.0}
    fates = {2: ("failed: the worker ran out of memory", 0), 5: ("diverged: parameters are no numbers", 2)}
    for number in range(1, 13):
        kind = draw.choice(["constant", "step"])
        values: dict[str, Any] = {
            "schedule.rate.kind": kind,
            "schedule.rate.value": 10 ** draw.uniform(-4, -2),
            "schedule.inner_steps": draw.randint(1, 5),
            "schedule.inner_rate": draw.choice(ASHA_SPACE["schedule.inner_rate"]),
        }
        values |= {"schedule.rate.every": draw.randint(1, 5)} if kind == "step" else {}
        reached = 9 if scores(values, 3)["SSIM"] > 0.56 else 3 if scores(values, 1)["SSIM"] > 0.45 else 1
        ended, epochs = fates.get(number, ("finished" if reached == 9 else "stopped", reached))
        write_trial(uri, experiment, parent, name, number, values, ended, epochs, folder / f"{number}.png")
        qualities[number] = scores(values, 9)["SSIM"] if ended == "finished" else 0.0
    best, settings = max(qualities, key=qualities.__getitem__), {"schedule": {"rate": {"value": 1e-3}}}
    assert log_sweep_results(uri, parent, best, yaml.safe_dump(settings), json.loads(json.dumps(COMPARISON))) is None
    TaskRecorder(uri, parent).finish("FINISHED")


def write_pbt(uri: str, experiment: str, name: str = "pbt", members: int = 4, interval: int = 2) -> None:
    """Records a sweep in which at each exchange the worst copies the best and moves on from its values."""
    spec = {
        "name": name, "tasks": ["IVIF"], "trials": members, "epochs": 8, "space": PBT_SPACE, "base": BASE,
        "objective": "SSIM", "searcher": "random", "scheduler": "pbt", "seed": 0, "concurrency": 2, "rungs": [],
    }  # fmt: skip
    parent = start_sweep_run(uri, experiment, name, BASE, {"task": "IVIF"}, spec)
    draw = random.Random(1)
    begins = [
        {"schedule.rate.value": 10 ** draw.uniform(-4, -2), "schedule.inner_steps": draw.randint(1, 5)}
        for _ in range(members)
    ]
    lineages = {n: [{"epoch": 0, "from": None, "values": values}] for n, values in enumerate(begins, 1)}
    reached = {number: 0.0 for number in lineages}
    histories: dict[int, list[dict[str, float]]] = {number: [] for number in lineages}
    for epoch in range(1, 9):
        for number, lineage in lineages.items():
            reached[number] += scores(lineage[-1]["values"], epoch)["SSIM"] / 10
            histories[number].append({"SSIM": reached[number], "Qabf": reached[number] / 2})
        if epoch % interval == 0 and epoch < 8:
            worst, best = min(reached, key=reached.__getitem__), max(reached, key=reached.__getitem__)
            old = lineages[best][-1]["values"]
            moved = {
                "schedule.rate.value": old["schedule.rate.value"] * draw.choice([0.8, 1.25]),
                "schedule.inner_steps": min(old["schedule.inner_steps"] + 1, 5),
            }
            lineages[worst] = [*lineages[best], {"epoch": epoch, "from": best, "values": moved}]
            reached[worst] = reached[best]
    write_trial(uri, experiment, parent, name, 0, {}, "finished", 8)
    for number, lineage in lineages.items():
        tags = trial_tags(lineage[-1]["values"], "finished", lineage)
        recorder = TaskRecorder(uri, start_trial_run(uri, experiment, parent, name, "IVIF", number, BASE, tags))
        for epoch, row in enumerate(histories[number], 1):
            recorder.epoch(epoch, row)
        recorder.finish()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a store with the sweeps "asha" and "pbt" in the experiment "study"; only to be read."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    experiment = open_store(uri, "study")
    write_asha(uri, experiment, tmp_path_factory.mktemp("pictures"))
    write_pbt(uri, experiment)
    return uri


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing may reach the user's own store, nor the working directory."""
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return working
