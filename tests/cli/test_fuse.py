from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from shipped_modules import ship_tiny, tiny_checkpoint

from refusion.adapt import Adaptation, load_learned_loss
from refusion.cli.fuse import fuse
from refusion.config.layers import check
from refusion.errors import UserError
from refusion.evaluation.scenes import pairs_of_folders
from refusion.fuse import fuse_exact, fuse_pair, load_module
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
    assert sorted(path.name for path in out.iterdir()) == ["fused.csv", "one.png", "two.png"]
    sources = [read_image(folders[0] / "one.png"), read_image(folders[1] / "one.bmp")]
    assert np.array_equal(read_image(out / "one.png"), fuse_pair(load_module(checkpoint), *sources))


def test_two_files_take_the_name_of_the_first(checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "fused"
    assert fuse(asked(checkpoint, folders[0] / "two.png", folders[1] / "two.bmp", out), "") == 0
    assert sorted(path.name for path in out.iterdir()) == ["fused.csv", "two.png"]


def test_sizes_that_differ_name_both_files(checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_image(folders[1] / "one.bmp", np.zeros((21, 30), np.uint8))
    with pytest.raises(UserError, match=r"one\.png: sizes differ: 30×20 in a, 30×21 in b .*one\.bmp"):
        fuse([*asked(checkpoint, *folders, tmp_path / "fused"), "--stop-at-first-bad"], "")
    assert not (tmp_path / "fused").exists()
    assert fuse([*asked(checkpoint, *folders, tmp_path / "fused"), "--skip-bad-pairs"], "") == 0
    assert sorted(path.name for path in (tmp_path / "fused").iterdir()) == ["fused.csv", "two.png"]


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
    (checkpoint / "SHA256SUMS").unlink()
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


def _sources(folder: Path, a: np.ndarray, b: np.ndarray) -> tuple[Path, Path]:
    for side, pixels in (("a", a), ("b", b)):
        (folder / side).mkdir(parents=True)
        write_image(folder / side / "x.png", pixels)
    return folder / "a", folder / "b"


@pytest.mark.parametrize("out", ["a", "b", ".", "a/fused"])
def test_results_never_go_into_a_source(checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path, out: str) -> None:
    before = {file: file.read_bytes() for folder in folders for file in folder.iterdir()}
    with pytest.raises(UserError, match=r"--out .* the source .*; choose a folder outside of the sources"):
        fuse(asked(checkpoint, *folders, tmp_path / out), "")
    assert {file: file.read_bytes() for folder in folders for file in folder.iterdir()} == before


def test_raw_thermal_counts_fuse_as_their_rendering_does(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    rendered, visible = random.integers(0, 256, (2, 40, 48), dtype=np.uint8)
    raw = (rendered.astype(np.uint16) * 2 + 7000).astype(np.uint16)
    as_counts = _sources(tmp_path / "raw", raw, visible)
    assert fuse(asked(checkpoint, *as_counts, tmp_path / "of_raw"), "") == 0
    assert "become 0 to 255" in capsys.readouterr().out
    assert fuse(asked(checkpoint, *_sources(tmp_path / "shown", rendered, visible), tmp_path / "of_shown"), "") == 0
    of_raw, of_shown = (read_image(tmp_path / name / "x.png") for name in ("of_raw", "of_shown"))
    assert np.abs(of_raw - of_shown).max() <= 3
    assert fuse([*asked(checkpoint, *as_counts, tmp_path / "full"), "--range", "a=full"], "") == 0
    assert "is nearly constant" in capsys.readouterr().out
    assert np.abs(read_image(tmp_path / "full" / "x.png") - of_shown).max() > 30


@pytest.mark.parametrize(("a", "b"), [((0, 1), (0, 2)), ((255, 256), (0, 1)), ((90, 95), (92, 99))])
def test_a_nearly_flat_pair_stays_nearly_flat(
    checkpoint: Path, tmp_path: Path, a: tuple[int, int], b: tuple[int, int]
) -> None:
    random = np.random.default_rng(0)
    pixels = [random.integers(*limits, (40, 48), dtype=np.uint16).astype(np.uint8) for limits in (a, b)]
    assert fuse(asked(checkpoint, *_sources(tmp_path / "in", pixels[0], pixels[1]), tmp_path / "out"), "") == 0
    fused = read_image(tmp_path / "out" / "x.png")
    assert min(a[0], b[0]) <= fused.min() <= fused.max() <= max(a[1], b[1]) - 1
    assert np.ptp(fused) <= 8


def test_depth_format_colour_and_stretch(checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    module = load_module(checkpoint)
    a, b = read_image(folders[0] / "one.png"), read_image(folders[1] / "one.bmp")
    options = ["--depth", "16", "--format", "tiff", "--grey", "--no-stretch"]
    assert fuse([*asked(checkpoint, *folders, tmp_path / "deep"), *options], "") == 0
    deep = read_image(tmp_path / "deep" / "one.tif")
    np.testing.assert_allclose(deep, fuse_exact(module, a, b, stretched=False, grey=True), atol=0.5 / 257 + 1e-4)
    assert np.ptp(deep) < 255
    assert fuse([*asked(checkpoint, *folders, tmp_path / "jpeg"), "--format", "jpeg"], "") == 0
    assert read_image(tmp_path / "jpeg" / "one.jpg").shape == (20, 30, 3)
    with pytest.raises(UserError, match="--depth 16: a JPEG has 8 bits"):
        fuse([*asked(checkpoint, *folders, tmp_path / "no"), "--format", "jpeg", "--depth", "16"], "")


def test_a_result_is_shown_like_its_sources_and_keeps_what_they_carry(checkpoint: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", 6
    for side, shape in (("a", (20, 30)), ("b", (20, 30, 3))):
        (tmp_path / side).mkdir()
        pixels = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        pixels.save(tmp_path / side / "x.jpg", exif=exif, dpi=(72, 72))
    assert fuse(asked(checkpoint, tmp_path / "a", tmp_path / "b", tmp_path / "out"), "") == 0
    with Image.open(tmp_path / "out" / "x.png") as written:
        assert written.size == (20, 30)
        assert written.getexif()[271] == "Maker"
        assert written.getexif().get(274, 1) == 1
        assert written.info["dpi"] == pytest.approx((72, 72), rel=1e-3)
