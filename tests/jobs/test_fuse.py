"""Folders that are fused as their user does it: by workers on Ray, and ended by signals half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from shipped_modules import tiny_checkpoint
from written_pairs import write_noise

from refusion.cli.fuse import fuse
from refusion.errors import UserError
from refusion.fusing import run
from refusion.fusing.maker import Made, Maker, WorkItem
from refusion.images.pairs import Checked
from refusion.images.reading import read_image

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"{number:02}" for number in range(6)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("runs") / "night")


def asked(checkpoint: Path, folder: Path, out: str, *more: str) -> list[str]:
    sources = ["--a", str(folder / "a"), "--b", str(folder / "b")]
    return ["--checkpoint", str(checkpoint), "--task", "IVIF", *sources, "--out", str(folder / out), *more]


def states(folder: Path) -> dict[str, str]:
    rows = pd.read_csv(folder / "fused.csv", index_col="output", keep_default_na=False)
    return dict(rows["state"])


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*.png")}


@pytest.mark.ray
def test_any_number_of_workers_makes_the_same_pictures_and_list(home: Path, checkpoint: Path, tmp_path: Path) -> None:
    write_noise(tmp_path, NAMES)
    assert torch.get_num_threads() == 1
    for workers in ("1", "3"):
        assert fuse(asked(checkpoint, tmp_path, workers, "--workers", workers), "") == 0
    assert pictures(tmp_path / "1") == pictures(tmp_path / "3")
    assert len(pictures(tmp_path / "3")) == len(NAMES)
    of_one, of_three = (pd.read_csv(tmp_path / out / "fused.csv").drop(columns="seconds") for out in ("1", "3"))
    assert of_one.equals(of_three)
    for name in ("01", "04"):
        (tmp_path / "3" / f"{name}.png").unlink()
    assert fuse(asked(checkpoint, tmp_path, "3", "--workers", "2"), "") == 0
    assert pictures(tmp_path / "1") == pictures(tmp_path / "3")


@pytest.mark.ray
def test_workers_leave_out_what_is_bad(
    home: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_noise(tmp_path, NAMES)
    check = run.check_sources

    def check_and_lose(*args: Any, **options: Any) -> Checked:
        checked = check(*args, **options)
        (tmp_path / "a" / "02.png").unlink()
        return checked

    monkeypatch.setattr(run, "check_sources", check_and_lose)
    with pytest.raises(UserError, match=r"1 pair is bad, all others are fused(.|\n)*a/02\.png: cannot be read"):
        fuse(asked(checkpoint, tmp_path, "out", "--workers", "2"), "")
    assert len(pictures(tmp_path / "out")) == len(NAMES) - 1
    assert states(tmp_path / "out")["02.png"].startswith("bad: ")


@pytest.mark.ray
def test_a_worker_that_ends_leaves_the_others_be(
    home: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Deadly(Maker):
        def make(self, item: WorkItem, device: str) -> Made:
            if item.pair.name == "03":
                os._exit(1)
            return super().make(item, device)

    write_noise(tmp_path, NAMES)
    monkeypatch.setattr(run, "Maker", Deadly)
    with pytest.raises(UserError, match=r"a/03\.png: a worker ended while it fused this pair; try fewer --workers"):
        fuse(asked(checkpoint, tmp_path, "out", "--workers", "2"), "")
    assert len(pictures(tmp_path / "out")) == len(NAMES) - 1


SLOW = """
import time
from torch import nn
from refusion.networks import FusionModule

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = FusionModule(width=8, blocks=1)

    def forward(self, sources):
        time.sleep(0.1)
        return self.inner(sources)
"""


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_job_that_is_ended_half_way_goes_on(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    (tmp_path / "slow_network.py").write_text(SLOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        checkpoint = tiny_checkpoint(tmp_path / "night", network={"kind": "slow_network:Slow"})
    names = [f"{number:02}" for number in range(40)]
    write_noise(tmp_path, names)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    options: dict[str, Any] = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": path}, "text": True}
    command = [sys.executable, str(ROOT / "jobs" / "fuse.py"), *asked(checkpoint, tmp_path, "out", "--trust-code")]
    out, rows = tmp_path / "out", tmp_path / "out" / "fused.csv"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as job:
        while not (rows.is_file() and rows.read_bytes().count(b"\n") > 5):
            assert job.poll() is None, job.communicate()
            time.sleep(0.02)
        job.send_signal(sent)
        said, told = job.communicate()
    assert job.returncode == status, told
    if sent != signal.SIGKILL:
        assert "the same command goes on from there" in said
        assert told == "interrupted\n"
    before = pictures(out)
    assert 3 < len(before) < len(names)
    for name in before:
        assert read_image(out / name).shape == (20, 24)
    assert set(states(out)) >= set(before)
    again = subprocess.run(command, capture_output=True, check=False, **options)
    assert again.returncode == 0, again.stderr
    assert f"{len(names) - len(before)} fused, {len(before)} there already" in again.stdout
    assert before.items() < pictures(out).items()
    assert states(out) == {f"{name}.png": "fused" for name in names}
    assert len(list(out.iterdir())) == len(names) + 1
