from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from refusion.cli.sweep_report import sweep_report
from refusion.errors import UserError
from refusion.reporting.sweep_files import write_sweep_report
from refusion.runtime.storage import Folder
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.store import open_store
from refusion.tracking.sweeps import log_sweep_results, start_sweep_run, start_trial_run, trial_tags
from refusion.training.display.report import Ended

ROOT = Path(__file__).resolve().parents[2]
SPACE = {"objective.alpha": {"low": 0.5, "high": 2.0}}
BASE = {"objective": {"alpha": 1.0}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    experiment = open_store(uri, "study")
    spec = {"name": "small", "tasks": ["MFIF"], "epochs": 2, "space": SPACE, "base": BASE, "objective": "VIF"}
    parent = start_sweep_run(uri, experiment, "small", BASE, {"task": "MFIF"}, spec)
    for number in range(4):
        values = {"objective.alpha": 0.5 + number / 4} if number else {}
        run = start_trial_run(uri, experiment, parent, "small", "MFIF", number, BASE, trial_tags(values))
        recorder = TaskRecorder(uri, run)
        for epoch in (1, 2):
            recorder.epoch(epoch - 1, {"VIF": 0.1 * number + 0.01 * epoch, "EN": 7.0 - number})
        recorder.finish("FINISHED", trial_tags(ended="finished"))
    settings = {"objective": {"alpha": 1.25}}
    assert log_sweep_results(uri, parent, 3, yaml.safe_dump(settings), None) is None
    return uri


def asked(store: str, out: Path, sweep: str = "small") -> list[str]:
    return ["--sweep", sweep, "--out", str(out), "--tracking-uri", store, "--experiment", "study"]


def test_page_table_and_settings(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "report"
    assert sweep_report(asked(store, out), "") == 0
    assert sorted(path.name for path in out.iterdir()) == ["best.yaml", "report.html", "trials.csv"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<title>Sweep small</title>" in page
    assert page.count("data:image/png;base64,") >= 3
    assert "mlflow ui --backend-store-uri" in page
    table = pd.read_csv(out / "trials.csv").set_index("number")
    assert table["VIF"].to_dict() == pytest.approx({number: 0.1 * number + 0.02 for number in range(4)})
    assert table["score"].idxmax() == 3
    assert yaml.safe_load((out / "best.yaml").read_text()) == {"objective": {"alpha": 1.25}}
    said = capsys.readouterr()
    assert "trial 3: objective.alpha 1.25" in said.out
    assert f"report: {out / 'report.html'}" in said.out
    assert "Downloading" not in said.err


def test_a_sweep_leaves_the_same_page_in_its_folder(store: str, tmp_path: Path) -> None:
    assert sweep_report(asked(store, tmp_path / "asked"), "") == 0
    folder = tmp_path / "sweeps" / "small"
    page = write_sweep_report(Ended(store, "study", "", "small", Folder(str(folder))))
    assert page == str(folder / "report.html")
    for name in ("report.html", "trials.csv"):
        assert (folder / name).read_text(encoding="utf-8") == (tmp_path / "asked" / name).read_text(encoding="utf-8")


def test_the_same_sweep_gives_the_same_files(store: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        sweep_report(asked(store, tmp_path / name), "")
    for name in ("report.html", "trials.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(store: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*file.*cannot be written"):
        sweep_report(asked(store, tmp_path / "file"), "")


@pytest.mark.slow
def test_the_script_exits_with_2_and_a_sentence(store: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "analysis" / "sweep_report.py"), *asked(store, tmp_path, "other")]
    environment = {**os.environ, "REFUSION_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --sweep 'other'")
    assert "small" in done.stderr
    assert done.stderr.count("\n") == 1
