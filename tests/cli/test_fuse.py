from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from shipped_modules import ship_tiny, tiny_checkpoint

from refusion.adapt import Adaptation, load_learned_loss
from refusion.cli.fuse import fuse
from refusion.config.layers import check
from refusion.errors import UserError
from refusion.evaluation.scenes import pairs_of_folders
from refusion.fuse import fuse_pair, load_module
from refusion.images.reading import read_image
from refusion.images.writing import write_image
from refusion.meta.state import TrainingState
from refusion.training.checkpoints import save_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    settings = check([{"network": {"width": 8, "blocks": 1}}])
    save_checkpoint(folder, TrainingState(settings, "IVIF"), settings, "IVIF", {})
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two pairs: a grey, b coloured; suffixes differ."""
    random = np.random.default_rng(0)
    for name in ("one", "two"):
        for side, shape, suffix in (("a", (20, 30), "png"), ("b", (20, 30, 3), "bmp")):
            (tmp_path / side).mkdir(exist_ok=True)
            write_image(tmp_path / side / f"{name}.{suffix}", random.integers(0, 256, shape, dtype=np.uint8))
    return tmp_path / "a", tmp_path / "b"


def asked(checkpoint: Path, a: Path, b: Path, out: Path) -> list[str]:
    return ["--checkpoint", str(checkpoint), "--task", "ivif", "--a", str(a), "--b", str(b), "--out", str(out)]


def test_folders_are_fused_pair_by_pair(checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "fused"
    assert fuse(asked(checkpoint, *folders, out), "") == 0
    assert sorted(path.name for path in out.iterdir()) == ["one.png", "two.png"]
    sources = [read_image(folders[0] / "one.png"), read_image(folders[1] / "one.bmp")]
    assert np.array_equal(read_image(out / "one.png"), fuse_pair(load_module(checkpoint), *sources))


def test_two_files_take_the_name_of_the_first(checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "fused"
    assert fuse(asked(checkpoint, folders[0] / "two.png", folders[1] / "two.bmp", out), "") == 0
    assert [path.name for path in out.iterdir()] == ["two.png"]


def test_sizes_that_differ_name_both_files(checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_image(folders[1] / "one.bmp", np.zeros((21, 30), np.uint8))
    with pytest.raises(UserError, match=r"one\.png: sizes differ: 30×20 in a, 30×21 in b .*one\.bmp"):
        fuse(asked(checkpoint, *folders, tmp_path / "fused"), "")
    assert not (tmp_path / "fused").exists()
    assert fuse([*asked(checkpoint, *folders, tmp_path / "fused"), "--skip-bad-pairs"], "") == 0
    assert [path.name for path in (tmp_path / "fused").iterdir()] == ["two.png"]


def test_an_unknown_model_or_device_is_refused(
    checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path))
    arguments = asked(checkpoint, *folders, tmp_path / "fused")
    with pytest.raises(UserError, match="--device abacus"):
        fuse([*arguments, "--device", "abacus"], "")
    with pytest.raises(UserError, match="nowhere"):
        fuse([*asked(tmp_path / "nowhere", *folders, tmp_path / "fused")], "")


def test_the_job_exits_with_2_and_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "jobs" / "fuse.py"), *asked(tmp_path, tmp_path, tmp_path, tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("job", ["fuse", "evaluate"])
def test_a_checkpoint_that_names_foreign_code_runs_nothing(
    checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path, job: str
) -> None:
    command = {"command": f"touch {tmp_path / 'ran'}"}
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"network": {"kind": "os:system", "options": command}}))
    out = tmp_path / ("scores.csv" if job == "evaluate" else "fused")
    arguments = [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *asked(checkpoint, *folders, out)]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {checkpoint}/settings.yaml: its network is os:system")
    assert "--trust-code" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()
    assert not out.exists()


def test_a_users_network_fuses_when_it_is_named_or_trusted(
    checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = check([{"network": {"width": 8, "blocks": 1, "kind": "foreign_networks:Strided"}}])
    save_checkpoint(checkpoint, TrainingState(settings, "IVIF"), settings, "IVIF", {})
    kind = "foreign_networks:Strided"
    with pytest.raises(UserError, match="is not run unasked"):
        fuse([*asked(checkpoint, *folders, tmp_path / "none"), "--network.kind", "foreign_networks:Tiny"], "")
    for number, trust in enumerate((["--trust-code"], ["--network.kind", "a:B", "--network.kind", kind])):
        out = tmp_path / f"fused{number}"
        assert fuse([*asked(checkpoint, *folders, out), *trust], "") == 0
        assert read_image(out / "one.png").shape[:2] == (20, 30)


def test_without_a_checkpoint_the_module_that_comes_along_fuses(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = ship_tiny(tmp_path / "pretrained", monkeypatch)
    arguments = ["--task", "ivif", "--a", str(folders[0]), "--b", str(folders[1]), "--out", str(tmp_path / "out")]
    assert fuse(arguments, "") == 0
    sources = [read_image(folders[0] / "one.png"), read_image(folders[1] / "one.bmp")]
    assert np.array_equal(read_image(tmp_path / "out" / "one.png"), fuse_pair(load_module(shipped), *sources))
    assert str(shipped / "card.yaml") in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(UserError, match="no trained module of MIF comes along"):
        fuse([*arguments, "--task", "MIF"], "")


def test_the_module_is_adapted_to_all_pairs_or_to_each(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = tiny_checkpoint(tmp_path / "trained")
    plain, together, each = (asked(trained, *folders, tmp_path / name) for name in ("plain", "together", "each"))
    adapt = ["--adapt", "3", "--adapt-rate", "1e-2"]
    assert fuse(plain, "") == fuse([*together, *adapt], "") == fuse([*each, *adapt, "--adapt-each"], "") == 0
    pictures = [read_image(tmp_path / name / "two.png") for name in ("plain", "together", "each")]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])
    pairs = pairs_of_folders(*folders, "IVIF")
    adaptation = Adaptation(load_learned_loss(trained, "IVIF"), "IVIF", 3, 1e-2)
    sources = [read_image(folders[0] / "two.png"), read_image(folders[1] / "two.bmp")]
    for picture, chosen in ((pictures[1], pairs), (pictures[2], pairs[1:])):
        assert np.array_equal(picture, fuse_pair(adaptation.to_pairs(load_module(trained), chosen), *sources))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--adapt", "0"], "argument --adapt: must be 1 or more"),
        (["--adapt", "3", "--adapt-rate", "0"], "argument --adapt-rate: must be more than 0"),
    ],
)
def test_adapting_by_nothing_is_refused(
    checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path, more: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        fuse([*asked(checkpoint, *folders, tmp_path / "fused"), *more], "")


def test_a_checkpoint_without_a_learned_loss_is_not_adapted(
    checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (checkpoint / "loss_proposal.safetensors").unlink()
    with pytest.raises(UserError, match=r"--adapt: .* has no loss_proposal\.safetensors"):
        fuse([*asked(checkpoint, *folders, tmp_path / "fused"), "--adapt", "2"], "")
    assert not (tmp_path / "fused").exists()
