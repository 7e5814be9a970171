from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from refusion.cli.looking.runs import runs
from refusion.config.layers import check
from refusion.errors import UserError
from refusion.runtime.storage import Folder
from refusion.training.manifest import RunManifest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one run that stopped before anything was trained, and no store."""
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path))
    settings = check([{"tasks": ["MIF"]}])
    folder = Folder(str(tmp_path / "runs" / "begun"))
    uri = f"sqlite:///{tmp_path}/none.db"
    RunManifest(name="begun", folder=folder, tracking_uri=uri, experiment="x", settings=settings).save(settings, {})
    return tmp_path


def test_what_is_there_is_listed_with_the_command_that_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs([], "") == 0
    printed = capsys.readouterr().out
    assert "begun" in printed and "stopped" in printed and "--resume begun" in printed and "1 in all" in printed
    assert runs(["--json"], "") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["begun"]


def test_nothing_is_deleted_unless_somebody_agrees(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "runs" / "begun"
    with pytest.raises(UserError, match=r"would delete these 1, .*add --yes"):
        runs(["--prune"], "")
    asked = io.StringIO("n\n")
    asked.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", asked)
    assert runs(["--prune"], "") == 0
    assert "nothing was deleted" in capsys.readouterr().out and folder.exists()
    assert runs(["--prune", "--yes"], "") == 0
    printed = capsys.readouterr().out
    assert "it stopped before anything was trained" in printed and f"deleted {folder}" in printed and "freed" in printed
    assert not folder.exists() and not (home / "none.db").exists()
    assert runs([], "") == 0
    assert "there are no runs and no sweeps" in capsys.readouterr().out


def test_prune_and_json_do_not_go_together(home: Path) -> None:
    with pytest.raises(UserError, match="leave --json and --csv out"):
        runs(["--prune", "--json"], "")
