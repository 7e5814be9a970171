from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from stored.runs import MakeRun

from refusion.config.layers import check
from refusion.runtime.lifetime.claims import CLAIM_FILE, Claim
from refusion.runtime.storage import Folder
from refusion.training.manifest import RunManifest
from refusion.training.reports import PAIRS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "home"


@pytest.fixture
def make_run(home: Path) -> MakeRun:
    """Writes a run of MIF as far as its folder tells of it: manifest, checkpoints with what was measured, claim."""

    def make(name: str, scores: list[float], epochs: int = 2, val: str = "pairs", owner: Claim | None = None) -> Path:
        settings = check([{"tasks": ["MIF"], "schedule": {"epochs": epochs}}])
        folder = home / "runs" / name
        uri = f"sqlite:///{home}/mlflow.db"
        manifest = RunManifest(
            name=name, folder=Folder(str(folder)), tracking_uri=uri, experiment="study", settings=settings
        )
        manifest.save(settings, {"MIF": {"train": "train", "val": val}})
        best = max(range(len(scores)), key=lambda at: scores[at]) if scores else 0
        for kind, at in (("best", best), ("final", len(scores) - 1)) if scores else ():
            checkpoint = folder / "MIF" / kind
            checkpoint.mkdir(parents=True)
            (checkpoint / "metrics.json").write_text(json.dumps({"epoch": at + 1, "Qabf": scores[at], PAIRS: 2}))
            (checkpoint / "state.pt").write_bytes(b"0" * 1000)
        if owner is not None:
            (folder / CLAIM_FILE).write_text(owner.text)
        return folder

    return make


@pytest.fixture
def gone() -> Claim:
    """A claim of a process that has ended."""
    return replace(Claim.mine(), started=0.0)
