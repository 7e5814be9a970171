from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from one_ray import start_ray
from safetensors.torch import save_file
from written_pairs import HEIGHT, WIDTH, write_pairs

import refusion.audit.parallel
from refusion.audit.methods import chosen_methods, fuse_all
from refusion.audit.rewards import find_reward
from refusion.cli.audit import audit
from refusion.errors import UserError
from refusion.evaluation.scenes import pairs_of_split
from refusion.evaluation.scoring import fuse_by_module
from refusion.fuse import load_module
from refusion.images.colour import luminance
from refusion.images.reading import read_image
from refusion.images.writing import write_image
from refusion.networks import FusionModule

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--width", "8", "--steps", "2", "--batch", "2", "--crop", "32", "--workers", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_pairs(root, "MFIF", "train", 3)
    write_pairs(root, "MFIF", "val", 2)
    return root


@pytest.fixture
def fused(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    for split, count in (("train", 3), ("val", 2)):
        (tmp_path / "mine" / split).mkdir(parents=True)
        for number in range(count):
            picture = random.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
            write_image(tmp_path / "mine" / split / f"scene_{number}.png", picture)
    return tmp_path / "mine"


def asked(data: Path, out: Path, *more: str) -> list[str]:
    return ["--task", "MFIF", "--data", str(data), "--out", str(out), *TINY, *more]


def count_fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Appends a name for each fit that is computed from now on."""
    found: list[str] = []
    timed = refusion.audit.parallel._timed

    def counted(fit: refusion.audit.parallel.Fit, *more: object) -> tuple[list[float], float]:
        found.append(f"{fit.method} {fit.reward.name} {fit.options.channel_noise:g} {fit.options.seed}")
        return timed(fit, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(refusion.audit.parallel, "_timed", counted)
    return found


def test_rows_table_and_plots(data: Path, fused: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "audit.csv"
    options = ["--baseline", "max", "focus", "--fused", f"mine={fused}", "--reward", "published", "salient"]
    assert audit(asked(data, out, *options, "--channel-noise", "0.1", "--seeds", "2"), "") == 0
    table = pd.read_csv(out)
    methods = ["average", "max", "focus", "mine", "a", "b"]
    assert len(table) == 2 * 2 * len(methods)
    assert table["method"].drop_duplicates().tolist() == methods
    assert table["convention"].unique().tolist() == ["authors"]
    assert np.isfinite(table["reward"]).all() and (table["reward"] > 0).all()
    # Noise is no fusion; the mean of both has something of each.
    scores = table.groupby("method")["VIF"].mean()
    assert scores["mine"] < 0.5 * scores["average"]
    printed = capsys.readouterr().out
    assert printed.count("rank correlation ") >= 2
    assert "only 4 methods" in printed
    assert "24 of 24 fits done now" in printed
    correlations = pd.read_csv(out.with_name("audit_correlations.csv"))
    assert len(correlations) == 2 * 8
    assert correlations["correlation"].between(-1, 1).all()
    # SCD of a picture that equals a source is undefined.
    assert (correlations.query("metric != 'SCD'")["methods"] == 4).all()
    assert "rank correlations" in printed
    plots = sorted(path.name for path in out.parent.glob("*.png"))
    assert len(plots) == 2 and "audit_MFIF_salient_0.1_8_2.png" in plots


def test_what_is_done_is_not_fitted_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "audit.csv"
    fitted = count_fits(monkeypatch)
    assert audit(asked(data, out, "--baseline", "max"), "") == 0
    assert fitted == [f"{name} published 0 0" for name in ("average", "max", "a", "b")]
    before = out.read_text()
    fitted.clear()
    assert audit(asked(data, out, "--baseline", "max"), "") == 0
    assert not fitted and out.read_text() == before
    assert audit(asked(data, out, "--baseline", "max", "guided", "--seeds", "2"), "") == 0
    assert fitted[0] == "guided published 0 0" and len(fitted) == 1 + 5
    assert out.read_text().startswith(before)


def test_an_interrupted_audit_keeps_what_was_fitted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "audit.csv"
    fitted = count_fits(monkeypatch)
    counted = refusion.audit.parallel._timed

    def interrupted(*given: object) -> tuple[list[float], float]:
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return counted(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(refusion.audit.parallel, "_timed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            audit(asked(data, out, "--baseline", "max"), "")
    assert pd.read_csv(out)["method"].tolist() == ["average", "max"]
    assert audit(asked(data, out, "--baseline", "max"), "") == 0
    assert [name.split()[0] for name in fitted] == ["average", "max", "a", "b"]


def test_other_fused_pictures_under_the_same_name_are_fitted(data: Path, fused: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.csv"
    options = asked(data, out, "--fused", f"mine={fused}")
    audit(options, "")
    write_image(fused / "train" / "scene_1.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    audit(options, "")
    mine = pd.read_csv(out).query("method == 'mine'")
    assert len(mine) == 2 and mine["reward"].nunique() == 2


def test_pictures_and_digest_of_a_checkpoint(data: Path, tmp_path: Path) -> None:
    found = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        save_file(FusionModule(width=8, blocks=1).state_dict(), tmp_path / "fusion.safetensors")
        settings = {"network": {"width": 8, "heads": 8, "blocks": 1, "expansion": 2}}
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
        pairs = {split: pairs_of_split(str(data), "MFIF", split) for split in ("train", "val")}
        mine, *_ = fuse_all(chosen_methods("MFIF", [("checkpoint", f"mine={tmp_path}")])[1:], pairs)
        assert mine.name == "mine" and len(mine.train.fused) == 3 and len(mine.scores["Qabf"]) == 2
        found.append(mine)
    assert found[0].digest == found[2].digest != found[1].digest
    assert np.array_equal(found[0].train.fused[1], found[2].train.fused[1])
    sources = np.stack([read_image(Path(pairs["train"][1].a)), luminance(read_image(Path(pairs["train"][1].b))) * 255])
    assert np.array_equal(found[2].train.sources[1], np.rint(sources))
    # R sees luminance alone, so no colour is put back.
    planes = (luminance(read_image(Path(file))) * 255 for file in (pairs["val"][0].a, pairs["val"][0].b))
    expected = fuse_by_module(load_module(tmp_path), *planes)
    assert np.abs(found[2].val.fused[0].astype(float) - np.rint(expected.luminance)).max() <= 1


@pytest.mark.ray
def test_workers_come_to_what_one_process_does(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_ray(2, dashboard=False)
    (tmp_path / "rewards_of_a_test.py").write_text(
        "def mine(rebuilt, sources):\n    return (rebuilt - sources).abs().mean()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    options = ["--reward", "rewards_of_a_test:mine"]
    found = []
    for workers in ("1", "2"):
        out = tmp_path / f"by_{workers}.csv"
        assert audit([*asked(data, out, *options), "--workers", workers], "") == 0
        found.append(pd.read_csv(out).set_index("method")["reward"].sort_index())
    pd.testing.assert_series_equal(*found, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--baseline", "maxx"], "there is no baseline 'maxx'"),
        (["--reward", "sailent"], "--reward sailent: choose from published, salient"),
        (["--reward", "math:hypot"], "--reward math:hypot: fails on a batch"),
        (["--reward", "torch:add"], "--reward torch:add: must return a finite scalar"),
        (["--reward", "math:hypo"], "did you mean 'hypot'"),
        (["--baseline", "a=max"], "stands for a source alone"),
        (["--checkpoint", "nowhere"], "nowhere: there is no fusion.safetensors"),
        (["--fused", "."], "there is no folder train in it"),
        (["--crop", "200"], "smaller than --crop 200"),
        (["--width", "12"], "must be a multiple of 8"),
        (["--channel-noise", "-1"], "must be between 0 and 10"),
        (["--seeds", "0"], "must be 1 or more"),
        (["--task", "XYZ"], "XYZ"),
    ],
)
def test_mistakes(data: Path, tmp_path: Path, options: list[str], sentence: str) -> None:
    out = tmp_path / "audit.csv"
    with pytest.raises(UserError) as error:
        audit(asked(data, out, *options), "")
    assert sentence in str(error.value)
    assert not out.exists()


def test_a_picture_that_is_missing_is_named(data: Path, fused: Path, tmp_path: Path) -> None:
    (fused / "train" / "scene_2.png").unlink()
    with pytest.raises(UserError, match=r"these train pairs have no fused picture of the same stem: scene_2"):
        audit(asked(data, tmp_path / "audit.csv", "--fused", str(fused)), "")


def test_status_of_a_mistake(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "analysis" / "reward_audit.py"), *asked(data, tmp_path / "x.csv")]
    done = subprocess.run([*command, "--reward", "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --reward none:") and "Traceback" not in done.stderr


def test_a_machine_without_ray_and_mlflow(data: Path, tmp_path: Path) -> None:
    program = "import sys; sys.modules['ray'] = sys.modules['mlflow'] = None; import refusion.cli.audit as c; "
    program += f"sys.exit(c.audit({asked(data, tmp_path / 'x.csv')!r}, ''))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reward_of_a_package_is_found_from_its_root() -> None:
    found = find_reward("refusion.objectives:reconstruction_loss")
    assert found.folder is not None and (Path(found.folder) / "refusion" / "objectives.py").is_file()
