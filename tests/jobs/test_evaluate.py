"""The evaluation as its user runs it: on Ray, on real pairs, and what it says to wrong requests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from refusion.cli.evaluate import evaluate
from refusion.config.layers import check
from refusion.errors import UserError
from refusion.evaluation.methods import Method
from refusion.evaluation.parallel import score_all
from refusion.evaluation.scenes import pairs_of_split
from refusion.evaluation.scoring import ItemScores, Scorer
from refusion.evaluation.work_items import Scene, WorkItem
from refusion.images.reading import read_image
from refusion.images.store import PairStore
from refusion.images.writing import write_image
from refusion.meta.state import TrainingState
from refusion.metrics import METRICS
from refusion.runtime.distributed import Shard
from refusion.training.checkpoints import save_checkpoint
from refusion.training.validation import validate

ROOT = Path(__file__).resolve().parents[2]
MEAN = Method("mean", "baseline", "average")


@pytest.fixture(scope="module")
def data(builtin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of the builtin pairs: DATA/{MIF,MEIF}/val/{a,b}."""
    root = tmp_path_factory.mktemp("data")
    for task in ("MIF", "MEIF"):
        for side in "ab":
            folder = root / task / "val" / side
            folder.mkdir(parents=True)
            for file in (builtin / task / "val" / side).iterdir():
                image = read_image(file).astype(np.uint8)
                for top in (0, 48):
                    write_image(folder / f"{file.stem}-{top}.png", image[top : top + 48, 40:88])
    return root


@pytest.fixture(scope="module")
def state() -> TrainingState:
    return TrainingState(check([{"network": {"width": 8, "blocks": 1}}]), "MEIF")


@pytest.fixture(scope="module")
def checkpoint(state: TrainingState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "night" / "MEIF" / "final"
    folder.mkdir(parents=True)
    save_checkpoint(folder, state, check([{"network": {"width": 8, "blocks": 1}}]), "MEIF", {})
    return folder


def scores(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, index_col="name", dtype={"name": str})


@pytest.mark.ray
def test_any_number_of_workers_gives_the_scores_of_validation(
    home: Path, data: Path, state: TrainingState, checkpoint: Path, tmp_path: Path
) -> None:
    asked = ["--task", "MEIF", "--data", str(data), "--checkpoint", str(checkpoint), "--baseline", "laplacian"]
    for workers in ("1", "2", "3"):
        out = tmp_path / f"{workers}.csv"
        assert evaluate([*asked, "--out", str(out), "--workers", workers], "") == 0
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes() == (tmp_path / "3.csv").read_bytes()
    found = scores(tmp_path / "3.csv")
    ours = found[found["method"] == "night/MEIF"]
    store = PairStore(pairs_of_split(str(data), "MEIF", "val"))
    whole, cpu = Shard(0, 1), torch.device("cpu")
    indices = list(range(len(store)))
    measured = validate(state.fusion, state.loss_proposal, store, indices, shard=whole, pictures=0, device=cpu)
    assert ours[list(METRICS)].to_dict("index") == measured.scores


@pytest.mark.ray
def test_builtin_scenes_on_all_cpus(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    asked = ["--baseline", "average", "--task", "mif", "--data", "builtin", "--metrics", "EN", "SD", "--out", str(out)]
    assert evaluate(asked, "") == 0
    assert len(scores(out)) == len(list((home / next(home.glob("builtin-*")) / "MIF" / "val" / "a").iterdir()))
    assert str(out) in capfd.readouterr().out


@pytest.mark.ray
def test_a_workers_error_is_one_sentence(home: Path, data: Path, tmp_path: Path) -> None:
    pairs = pairs_of_split(str(data), "MIF", "val")
    gone = str(tmp_path / "gone.png")
    files = Method("files", "fused", str(tmp_path))
    items = [WorkItem(MEAN, Scene(pair)) for pair in pairs] + [WorkItem(files, Scene(pairs[0], {"files": gone}))]
    with pytest.raises(UserError, match=rf"^{gone}: cannot be read"):
        score_all(Scorer(("EN",), "authors"), items)


@pytest.mark.ray
def test_a_worker_that_dies_is_told(home: Path, data: Path) -> None:
    @dataclass(frozen=True)
    class Deadly(Scorer):
        def score(self, item: WorkItem, device: str = "cpu") -> ItemScores:
            os._exit(1)

    items = [WorkItem(MEAN, Scene(pair)) for pair in pairs_of_split(str(data), "MIF", "val")]
    with pytest.raises(UserError, match=r"^mean, .*: a worker ended .*fewer --workers"):
        score_all(Deadly(("EN",), "authors"), items, workers=2)


@pytest.mark.ray
def test_no_more_items_are_under_way_than_workers(home: Path, data: Path, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Watched(Scorer):
        folder: str = str(tmp_path)

        def score(self, item: WorkItem, device: str = "cpu") -> ItemScores:
            sign = Path(self.folder) / f"{item.method.name}-{item.scene.pair.name}"
            sign.touch()
            # A worker's process may take longer to start than the other takes for everything.
            deadline = time.monotonic() + 60
            while len(list(Path(self.folder).iterdir())) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
            seen = len(list(Path(self.folder).glob("[xyz]-*")))
            (Path(self.folder) / "met").touch()
            sign.unlink()
            return ItemScores({"seen": seen, "threads": torch.get_num_threads()})

    methods = [Method(name, "baseline", "average") for name in "xyz"]
    pictures = [Scene(pair) for pair in pairs_of_split(str(data), "MIF", "val")]
    items = [WorkItem(method, picture) for method in methods for picture in pictures]
    told: list[int] = []
    found = score_all(Watched(("EN",), "authors"), items, workers=2, on_progress=lambda done, _of: told.append(done))
    assert max(one.scores["seen"] for one in found) == 2
    assert {one.scores["threads"] for one in found} == {1}
    assert told == list(range(1, len(items) + 1))


@pytest.mark.ray
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_cluster_without_a_gpu_says_so(home: Path, data: Path) -> None:
    items = [WorkItem(MEAN, Scene(pair)) for pair in pairs_of_split(str(data), "MIF", "val")]
    with pytest.raises(UserError, match="--gpu: there is no GPU in this cluster"):
        score_all(Scorer(("EN",), "authors"), items, gpu=True)


@pytest.mark.parametrize(("task", "stem"), [("MIF", "harvardct_41004"), ("MEIF", "mefb_Chair")])
def test_published_weights_score_as_their_published_pictures(
    shared_data: Path, published: Path, tmp_path: Path, task: str, stem: str
) -> None:
    for side in "ab":
        (tmp_path / side).mkdir()
        (file,) = (shared_data / task / "val" / side).glob(f"{stem}.*")
        (tmp_path / side / file.name).symlink_to(file)
    expected = np.load(published / "expected" / f"{task}__{stem}.npz")
    (tmp_path / "theirs").mkdir()
    # What is scored is the picture as it is saved, with its colour.
    picture = expected["rgb"] if "rgb" in expected else expected["luminance"]
    write_image(tmp_path / "theirs" / f"{stem}.png", picture)
    asked = ["--task", task, "--a", str(tmp_path / "a"), "--b", str(tmp_path / "b"), "--workers", "1"]
    methods = ["--checkpoint", str(published / f"ReFusion_{task}.pth"), "--fused", str(tmp_path / "theirs")]
    assert evaluate([*methods, *asked, "--out", str(tmp_path / "out.csv")], "") == 0
    found = scores(tmp_path / "out.csv")
    assert found["method"].to_list() == [f"ReFusion_{task}", "theirs"]
    ours, theirs = found[list(METRICS)].to_numpy()
    # Another build of torch may round a few pixels the other way.
    assert np.allclose(ours, theirs, rtol=1e-4)


def job(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "evaluate.py"), *map(str, arguments)]
    environment = {**os.environ, "REFUSION_HOME": str(folder / "home")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_job_writes_the_file_and_prints_the_table(data: Path, tmp_path: Path) -> None:
    pairs = data / "MIF" / "val"
    sources = ["--a", pairs / "a", "--b", pairs / "b", "--task", "MIF"]
    done = job(tmp_path, *sources, "--baseline", "max", "--metrics", "EN", "--workers", 1, "--out", "new/out.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert "authors" in done.stdout
    assert done.stdout.rstrip().endswith(f"scores of 4 pictures in {tmp_path / 'new' / 'out.csv'}")
    assert list(scores(tmp_path / "new" / "out.csv").columns) == ["EN", "convention"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline", "magic"], "there is no baseline 'magic'"),
        (["--fused", "ours"], "--fused ours: these fused pictures have no sources: other.png; these sources have no"),
        (["--baseline", "max", "--metrics", "EN", "nice"], "there is no metric 'nice'"),
        (["--baseline", "max", "--format"], "--format"),
    ],
)
def test_the_job_exits_with_2_and_one_line(data: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "ours").mkdir()
    write_image(tmp_path / "ours" / "other.png", np.zeros((48, 48), np.uint8))
    pairs = data / "MIF" / "val"
    done = job(tmp_path, "--a", pairs / "a", "--b", pairs / "b", "--task", "MIF", "--out", "out.csv", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()
