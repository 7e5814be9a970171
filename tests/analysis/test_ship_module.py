"""The tool that puts a trained module into the package, and the modules that it has put there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch
import yaml
from shipped_modules import tiny_checkpoint

from refusion import shipped
from refusion.adapt import load_learned_loss
from refusion.errors import UserError
from refusion.fuse import load_pretrained
from refusion.metrics import METRICS
from refusion.shipped import GOLDEN_FILE, read_card, shipped_folder, shipped_tasks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ship_module", ROOT / "analysis" / "ship_module.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scenes(builtin: Path) -> Path:
    return builtin


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    file = tmp_path / "scores.csv"
    table = {"name": ["one", "two", "three"], "Qabf": [0.5, 0.6, 0.7], "VIF": [0.4, 0.4, 0.4], "convention": "authors"}
    pd.DataFrame(table).to_csv(file, index=False)
    return file


def asked(checkpoint: Path, scores: Path, out: Path, *more: str) -> list[str]:
    told = {
        "scored": "3 pairs",
        "data": "some pairs",
        "terms": "research only",
        "command": "train it",
        "wall-time": "1:02",
    }
    texts = [word for name, value in told.items() for word in (f"--{name}", value)]
    places = ["--checkpoint", str(checkpoint), "--scores", str(scores), "--out", str(out)]
    return [*places, "--task", "IVIF", *texts, *more]


def test_a_checkpoint_becomes_a_module_that_comes_along(
    tool: ModuleType, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = tiny_checkpoint(tmp_path / "run", seed=7, data="/home/someone/pairs"), tmp_path / "pretrained"
    assert tool.main(asked(checkpoint, scores, out, "--commit", "abc"), "") == 0
    monkeypatch.setattr(shipped, "_FOLDER", out)
    card = read_card(shipped_folder("IVIF"))
    assert (card.task, card.seed, card.stored_as, card.commit, card.wall_time) == ("IVIF", 7, "float32", "abc", "1:02")
    qabf, vif = card.scores.metrics["Qabf"], card.scores.metrics["VIF"]
    assert (card.scores.pairs, qabf.mean, vif.low, vif.high) == (3, 0.6, 0.4, 0.4)
    assert 0.5 <= qabf.low < qabf.mean < qabf.high <= 0.7
    assert set(card.files) == {"fusion.safetensors", "loss_proposal.safetensors", "settings.yaml", "golden.yaml"}
    weights = safetensors.torch.load_file(str(checkpoint / "fusion.safetensors"))
    assert card.parameters["fusion"] == sum(value.numel() for value in weights.values())
    assert all(torch.equal(value, weights[name]) for name, value in load_pretrained("IVIF").state_dict().items())
    learned = load_learned_loss(shipped_folder("IVIF"), "IVIF")
    assert learned.settings.network == load_learned_loss(checkpoint, "IVIF").settings.network
    assert "someone" not in "".join(path.read_text(errors="ignore") for path in (out / "IVIF").iterdir())
    assert "some pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("most", "stored_as", "with_p"),
    [(10**9, "float32", True), (0.6, "float16", True), (0.45, "float16", False)],
)
def test_what_is_too_large_is_rounded_then_stored_without_p(
    tool: ModuleType,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: float,
    stored_as: str,
    with_p: bool,
) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "run")
    files = ("fusion.safetensors", "loss_proposal.safetensors")
    whole = sum((checkpoint / name).stat().st_size for name in files)
    monkeypatch.setattr(tool, "MOST_BYTES", most if most > 1 else int(whole * most))
    monkeypatch.setattr(tool, "SAME", 1.0)
    settings = yaml.safe_load((checkpoint / "settings.yaml").read_text())
    assert tool.store(checkpoint, tmp_path / "stored", settings, "IVIF", scenes)[0] == stored_as
    stored = tmp_path / "stored"
    assert (stored / "loss_proposal.safetensors").is_file() is with_p
    (kind,) = {value.dtype for value in safetensors.torch.load_file(str(stored / "fusion.safetensors")).values()}
    assert str(kind) == f"torch.{stored_as}"


def test_a_module_that_rounding_changes_is_refused(
    tool: ModuleType, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "run")
    size = (checkpoint / "fusion.safetensors").stat().st_size
    monkeypatch.setattr(tool, "MOST_BYTES", int(0.7 * size))
    monkeypatch.setattr(tool, "SAME", 0.0)
    settings = yaml.safe_load((checkpoint / "settings.yaml").read_text())
    with pytest.raises(UserError, match=r"has other scores as torch\.float16 \(\w+ of \w+: .*smaller network"):
        tool.store(checkpoint, tmp_path / "stored", settings, "IVIF", scenes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--task": "MIF"}, "--task MIF: .* was trained for IVIF"),
        ({"--checkpoint": "nowhere"}, r"--checkpoint nowhere: there is no settings\.yaml"),
        ({"--scores": "nowhere.csv"}, r"--scores nowhere\.csv: cannot be read"),
    ],
)
def test_wrong_requests_are_refused(
    tool: ModuleType, scores: Path, tmp_path: Path, change: dict[str, str], sentence: str
) -> None:
    checkpoint, out = tiny_checkpoint(tmp_path / "run"), tmp_path / "pretrained"
    more = [word for pair in change.items() for word in pair]
    with pytest.raises(UserError, match=sentence):
        tool.main(asked(checkpoint, scores, out, *more), "")
    assert not out.exists()


def test_scores_of_several_methods_need_a_choice(tool: ModuleType, scores: Path, tmp_path: Path) -> None:
    table = pd.read_csv(scores)
    table.insert(1, "method", ["ours", "theirs", "ours"])
    table.to_csv(scores, index=False)
    checkpoint, out = tiny_checkpoint(tmp_path / "run"), tmp_path / "pretrained"
    with pytest.raises(UserError, match="has several methods; choose one by --method: ours, theirs"):
        tool.main(asked(checkpoint, scores, out), "")
    assert tool.main(asked(checkpoint, scores, out, "--method", "ours"), "") == 0
    assert read_card(out / "IVIF").scores.metrics["Qabf"].mean == pytest.approx(0.6)


def differing(golden: Any, found: Any) -> list[str]:
    """Scores that are not those of the golden file, within what another processor's rounding may move them."""
    assert golden.keys() == found.keys()
    return [
        f"{scene} {name}: {value} and {found[scene][name]}"
        for scene, of_scene in golden.items()
        for name, value in of_scene.items()
        if found[scene][name] != pytest.approx(value, rel=2e-3, abs=2e-3)
    ]


def test_another_module_than_the_golden_one_is_found_out(tool: ModuleType, scenes: Path, tmp_path: Path) -> None:
    golden, found = (
        tool.golden_scores(tiny_checkpoint(tmp_path / str(seed), seed=seed), "IVIF", scenes) for seed in (1, 2)
    )
    assert not differing(golden, golden)
    assert len(differing(golden, found)) > len(METRICS)


@pytest.mark.parametrize("task", shipped_tasks())
def test_what_comes_along_scores_as_its_golden_file_says(tool: ModuleType, scenes: Path, task: str) -> None:
    folder = shipped_folder(task)
    golden = yaml.safe_load((folder / GOLDEN_FILE).read_text(encoding="utf-8"))
    assert golden and all(set(scores) == set(METRICS) for scores in golden.values())
    assert not differing(golden, tool.golden_scores(folder, task, scenes))
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= tool.MOST_BYTES
