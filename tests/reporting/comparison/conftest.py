"""A small store: jobs of IVIF on the same ten pairs, one on others, an evaluated method, a run without a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from refusion.evaluation.csv_file import csv_text, score_table
from refusion.evaluation.results import MethodScores
from refusion.metrics import METRICS
from refusion.tracking.comparison.files import scores_file, source_file
from refusion.tracking.comparison.scores import scores_text, with_facts
from refusion.tracking.evaluations import Evaluation, record_evaluation
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run, start_task_run
from refusion.tracking.store import open_store

PAIRS = [f"scene_{number}" for number in range(10)]
EXPERIMENT = "study"


@dataclass
class Written:
    """Frames and jobs as they were written."""

    uri: str
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, frame: pd.DataFrame, average: pd.DataFrame, digest: str, rate: float = 1e-3) -> None:
        experiment = open_store(self.uri, EXPERIMENT)
        job = self.jobs[name] = start_job_run(self.uri, experiment, name, {}, {"kind": "train"})
        tags = {"kind": "task", "convention": "authors"}
        settings = {"schedule": {"rate": {"value": rate}}}
        run_id = start_task_run(self.uri, experiment, job, "IVIF", f"IVIF · {name}", settings, tags)
        recorder = TaskRecorder(self.uri, run_id)
        recorder.epoch(0, frame.mean().sub(0.2).to_dict())
        for epoch in (1, 2):
            numbers = frame.mean().sub(0.1 * (2 - epoch)).to_dict()
            costs = {"pairs_seen": 40, "time/cpu_seconds": 1.5 * epoch, "time/gpu_seconds": 0.25}
            baseline = {f"baseline/{metric}": value for metric, value in average.mean().items()}
            recorder.epoch(epoch, numbers | baseline | costs | {"time/training_seconds": 2, "best/epoch": epoch})
        both = {"trained": frame.to_dict("index"), "average": average.to_dict("index")}
        recorder.text(with_facts(scores_text(both, "authors"), 2, digest), scores_file("IVIF", "best"))
        self.frames[name] = frame
        recorder.finish()
        assert recorder.unsent == 0

    def pictures(self, name: str, folder: Path, brighter: int) -> None:
        from mlflow import MlflowClient

        (run,) = MlflowClient(self.uri).search_runs(["1", "2"], f"tags.`mlflow.parentRunId` = '{self.jobs[name]}'")
        recorder = TaskRecorder(self.uri, run.info.run_id)
        draw = np.random.default_rng(0)
        a, b = (draw.integers(60, 120, (48, 64), dtype=np.uint8) for _ in "ab")
        fused = ((a.astype(int) + b) // 2).astype(np.uint8)
        fused[20:28:2, 30:38:2] += brighter
        folder.mkdir(parents=True)
        for kind, picture in (("fused", fused), ("weights", np.dstack([fused] * 3))):
            cv2.imwrite(str(folder / f"{kind}.png"), picture)
            recorder.pictures(2, {f"{kind}/scene_1": folder / f"{kind}.png"})
        for side, source in (("a", a), ("b", b)):
            recorder.image(source, source_file("scene_1", side))
        recorder.finish()
        assert recorder.unsent == 0


def scores(seed: int, gain: float, names: list[str] = PAIRS) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    base = np.random.default_rng(0).uniform(0.3, 0.9, (len(names), len(METRICS)))
    noise = draw.normal(gain, 0.02, base.shape)
    return pd.DataFrame(base + noise, index=pd.Index(names, name="name"), columns=list(METRICS))


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Only to be read."""
    folder = tmp_path_factory.mktemp("compared")
    done = Written(f"sqlite:///{folder / 'mlflow.db'}")
    average = scores(1, 0.0)
    done.frames["average"] = average
    good = scores(2, 0.05)
    good.loc["scene_3", "VIF"] = np.nan
    done.run("night", good, average, "digest-one")
    done.run("morning", scores(3, -0.01), average, "digest-one", rate=1e-4)
    other = scores(4, 0.3, PAIRS[:4])
    done.run("elsewhere", other, other - 0.1, "digest-two")
    experiment = open_store(done.uri, EXPERIMENT)
    laplacian = done.frames["laplacian"] = scores(5, 0.01)
    table = score_table(
        [MethodScores(name, "authors", frame) for name, frame in (("laplacian", laplacian), ("max", average))]
    )
    evaluation = Evaluation(
        "IVIF", "laplacian", "authors", {}, laplacian.mean().to_dict(), {"scores.csv": csv_text(table)},
        "digest-one", "builtin", len(PAIRS), "val",
    )  # fmt: skip
    assert record_evaluation(done.uri, experiment, evaluation) is None
    job = start_job_run(done.uri, experiment, "ancient", {}, {"kind": "train"})
    run_id = start_task_run(done.uri, experiment, job, "IVIF", "IVIF · ancient", {}, {"kind": "task"})
    TaskRecorder(done.uri, run_id).epoch(1, {"Qabf": 0.5, "best/epoch": 1, "best/Qabf": 0.5})
    for name, brighter in (("night", 90), ("morning", 30)):
        done.pictures(name, folder / name, brighter)
    return done
