"""Results that refusion.train makes of a job that has ended; tests/docs/test_extend.py runs a whole training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from refusion.config.layers import check, for_task
from refusion.config.presets import read_preset
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.runtime.storage import Folder
from refusion.training import api
from refusion.training.job import FinishedJob
from refusion.training.manifest import RunRequest
from refusion.training.task_run import Outcome


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """A job that ends at once, its second task as the test says; what it was asked for is put into the list."""
    requests: list[Any] = []

    def run_job(request: RunRequest, console: Console) -> FinishedJob:
        requests.extend([request, console])
        for kind in ("final", "best", "epoch_00001"):
            (tmp_path / "run" / "IVIF" / kind).mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / "IVIF" / "best" / "metrics.json").write_text('{"epoch": 1, "Qabf": 0.5}')
        error = "worker 0: lost" if request.run_name == "failing" else ""
        outcomes = [Outcome("IVIF", "", "somewhere"), Outcome("MIF", error, None)]
        return FinishedJob("run", Folder(str(tmp_path / "run")), "sqlite://", {"IVIF": "1", "MIF": "2"}, outcomes)

    monkeypatch.setattr(api, "run_job", run_job)
    monkeypatch.setattr(
        api, "epoch_metrics", lambda _uri, run: pd.DataFrame({"epoch": [1, 2], "Qabf": [0.1, int(run)]})
    )
    return requests


def test_a_result_has_a_table_and_the_checkpoints_that_are_there(asked: list[Any], tmp_path: Path) -> None:
    result = api.train({"tasks": ["IVIF", "MIF"]}, storage="there", quiet=True)
    assert result.run_name == "run"
    assert list(result.metrics.columns) == ["task", "epoch", "Qabf"]
    assert result.metrics["task"].tolist() == ["IVIF", "IVIF", "MIF", "MIF"]
    assert result.metrics["Qabf"].tolist() == [0.1, 1, 0.1, 2]
    assert result.best.to_dict("records") == [{"task": "IVIF", "epoch": 1, "Qabf": 0.5}]
    folder = tmp_path / "run" / "IVIF"
    assert result.checkpoints == {"IVIF": {"final": str(folder / "final"), "best": str(folder / "best")}, "MIF": {}}
    request, console = asked
    assert (request.changes, request.storage, console.quiet) == ([{"tasks": ["IVIF", "MIF"]}], "there", True)


def test_the_tasks_of_settings_count_only_where_they_were_named(asked: list[Any]) -> None:
    api.train(Settings(seed=5), quiet=True)
    api.train(Settings(tasks=("MIF",)), quiet=True)
    assert ["tasks" in request.changes[0] for request in asked[::2]] == [False, True]


def test_settings_are_taken_as_they_are(asked: list[Any]) -> None:
    settings = check([{"seed": 5, "network": {"width": 8}}])
    api.train(settings, resume="before")
    assert check(asked[0].changes) == settings
    assert asked[0].resume == "before"
    assert not asked[1].quiet


def test_a_preset_lies_below_the_settings(asked: list[Any]) -> None:
    api.train({"images": {"crop": 24}, "per_task": {"MIF": {"images": {"batch": 4}}}}, preset="quick", quiet=True)
    settings = check(asked[0].changes)
    assert (settings.images.crop, settings.schedule.epochs) == (24, check([read_preset("quick")]).schedule.epochs)
    assert for_task(settings, "MIF").images.batch == 4


def test_a_task_that_failed_is_an_error_that_says_how_to_go_on(asked: list[Any]) -> None:
    with pytest.raises(RuntimeError, match=r"MIF: worker 0: lost \(go on with refusion.train\(resume='run'\)\)"):
        api.train(run_name="failing")
    assert len(asked) == 2


def test_wrong_settings_are_a_users_error() -> None:
    with pytest.raises(UserError, match=r"--schedule\.epochs must be at least 1"):
        api.train({"schedule": {"epochs": 0}})
