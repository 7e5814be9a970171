"""Whole evaluations in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from shipped_modules import ship_tiny, tiny_checkpoint

from refusion.adapt import Adaptation, load_learned_loss
from refusion.errors import UserError
from refusion.evaluation import run
from refusion.evaluation.request import Request
from refusion.evaluation.scoring import fuse_by_module, grey_levels, score_planes
from refusion.fuse import fuse_pair, load_module
from refusion.images.pairs import Pair, dataset_digest
from refusion.images.reading import read_image
from refusion.images.writing import write_image
from refusion.metrics import METRICS


@pytest.fixture
def request_of(pairs: list[Pair], tmp_path: Path) -> Any:
    """A request for these pairs, with changes."""

    def made(*methods: tuple[str, str], **changes: Any) -> Request:
        plain = Request(
            methods or [("baseline", "average")],  # type: ignore[arg-type]
            "ivif",
            tmp_path / "new" / "out.csv",
            a=tmp_path / "a",
            b=tmp_path / "b",
            workers=1,
        )
        return replace(plain, **changes)

    return made


def table(request: Request) -> pd.DataFrame:
    assert run.run_evaluation(request) == 0
    return pd.read_csv(request.out, dtype={"name": str})


def test_one_method(request_of: Any, capsys: pytest.CaptureFixture[str]) -> None:
    request = request_of()
    found = table(request)
    assert list(found.columns) == ["name", *METRICS, "convention"]
    assert found["name"].to_list() == ["one", "three", "two"]
    assert set(found["convention"]) == {"authors"}
    printed = capsys.readouterr()
    assert printed.out.rstrip().endswith(f"scores of 3 pictures in {request.out}")
    assert f"{found['EN'].mean():.3f}" in printed.out
    assert printed.err == ""


def test_methods_side_by_side_and_saved(
    request_of: Any, pairs: list[Pair], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = (("checkpoint", str(checkpoint)), ("baseline", "mean=average"))
    request = request_of(*methods, metrics=["EN", "SSIM"], save=tmp_path / "saved")
    found = table(request)
    assert list(found.columns) == ["name", "method", "EN", "SSIM", "convention"]
    assert found["method"].to_list() == ["night/IVIF", "mean"] * 3
    assert sorted(file.relative_to(tmp_path / "saved").as_posix() for file in (tmp_path / "saved").rglob("*.png")) == [
        f"{method}/{name}.png" for method in ("mean", "night-IVIF") for name in ("one", "three", "two")
    ]
    printed = capsys.readouterr()
    assert "night/IVIF" in printed.out
    assert printed.err.startswith("night/IVIF is ")
    assert str(checkpoint) in printed.err.replace("\n", "")
    # What is saved has the scores of what was fused.
    again = table(request_of(("fused", str(tmp_path / "saved" / "night-IVIF")), metrics=["EN", "SSIM"]))
    ours = found[found["method"] == "night/IVIF"]
    assert again[["EN", "SSIM"]].to_numpy().tolist() == ours[["EN", "SSIM"]].to_numpy().tolist()
    saved = read_image(tmp_path / "saved" / "night-IVIF" / "two.png")
    sources = read_image(Path(pairs[2].a)), read_image(Path(pairs[2].b))
    assert np.array_equal(saved, fuse_pair(load_module(checkpoint), *sources))

    again = table(request_of(("fused", str(tmp_path / "saved" / "mean")), metrics=["EN", "SSIM"]))
    of_mean = found[found["method"] == "mean"].reset_index(drop=True)
    # Colour is rounded once more on its way through the file.
    assert np.allclose(again["SSIM"], of_mean["SSIM"], atol=0.02)


def test_true_images_and_cropping(
    request_of: Any, pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fused").mkdir()
    for index, pair in enumerate(pairs):
        image = read_image(Path(pair.a)).astype(np.uint8)
        write_image(tmp_path / "fused" / f"{pair.name}.png", image[2:, 3:] if index else image)
    request = request_of(
        ("fused", str(tmp_path / "fused")), ("baseline", "max"), reference=tmp_path / "a", metrics=["EN", "SSIM"]
    )
    with pytest.raises(UserError, match=r"three\.png is 53×46 but its source .*three\.png is 56×48: --align crop"):
        run.run_evaluation(request)
    assert not request.out.exists()
    found = table(replace(request, align="crop"))
    own = found[found["method"] == "fused"]
    assert list(found.columns) == ["name", "method", "EN", "SSIM", "ref_SSIM", "convention"]
    assert own["ref_SSIM"].to_list() == pytest.approx([1, 1, 1])
    assert (found[found["method"] == "max"]["ref_SSIM"] < 1).all()
    printed = capsys.readouterr().out
    assert "fused: 2 of 3 pictures cropped" in printed
    assert "max: " not in printed


@pytest.mark.parametrize(("output_format", "last"), [("markdown", "\n\nscores of"), ("latex", "\n% scores of")])
def test_other_formats(request_of: Any, output_format: str, last: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.run_evaluation(request_of(format=output_format)) == 0
    assert last in capsys.readouterr().out


@pytest.mark.slow
def test_into_mlflow(
    request_of: Any,
    pairs: list[Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    request = request_of(("baseline", "average"), ("baseline", "max"), experiment="study", tracking_uri=uri)
    found = table(request)
    printed = capsys.readouterr().out
    assert "open the MLflow UI: " in printed
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = {str(one.info.run_name): one for one in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"evaluate-IVIF-average", "evaluate-IVIF-max"}
    best = runs["evaluate-IVIF-max"]
    of_max = found[found["method"] == "max"]
    assert best.data.metrics["Qabf"] == pytest.approx(of_max["Qabf"].mean(), rel=1e-12)
    assert best.data.metrics["Qabf_low"] < best.data.metrics["Qabf"] < best.data.metrics["Qabf_high"]
    assert best.data.tags["dataset_digest"] == dataset_digest(pairs)
    assert (best.data.params["kind"], best.data.params["value"]) == ("baseline", "max")
    artifacts = {name: client.download_artifacts(best.info.run_id, name) for name in ("scores.csv", "table.txt")}
    assert Path(artifacts["scores.csv"]).read_text() == request.out.read_text()
    assert Path(artifacts["table.txt"]).read_text().splitlines()[0] in printed

    monkeypatch.setattr("refusion.evaluation.recording.record_evaluation", lambda *_: "the disk is full")
    assert run.run_evaluation(request) == 1
    assert "warning: not all could be written to MLflow (the disk is full)" in capsys.readouterr().err


def test_sources_are_never_overwritten(request_of: Any, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        with pytest.raises(UserError, match=r"--save .*is the source .*; choose a folder outside"):
            run.run_evaluation(request_of(save=tmp_path / "x" / ".." / folder))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--save .*cannot be made"):
        run.run_evaluation(request_of(save=tmp_path / "file" / "saved"))
    with pytest.raises(UserError, match="nothing to save"):
        run.run_evaluation(request_of(("fused", str(tmp_path / "a")), save=tmp_path / "saved"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "XRAY"}, "no fusion task 'XRAY'"),
        ({"metrics": ["EN", "nice"]}, "no metric 'nice'"),
        ({"convention": "mine"}, "no metric convention 'mine'"),
        ({"methods": [("baseline", "magic")]}, "no baseline 'magic'"),
        ({"methods": []}, "at least one of --fused DIR"),
        ({"methods": [("baseline", "max"), ("baseline", "max")]}, "called 'max'"),
        ({"methods": [("checkpoint", "nowhere.pth")]}, r"nowhere\.pth"),
        ({"methods": [("fused", "nowhere")]}, "--fused nowhere: there is no such folder"),
        ({"reference": Path("nowhere")}, "--reference nowhere"),
        ({"reference": Path("nowhere"), "metrics": ["EN"]}, "none of the metrics has a meaning"),
        ({"a": None, "b": None, "data": "/nowhere"}, "--data /nowhere"),
        ({"experiment": "study", "tracking_uri": "ftp://x"}, "--tracking-uri"),
        ({"out": Path("/")}, "--out /: is a folder"),
    ],
)
def test_wrong_requests_leave_no_file(request_of: Any, changes: dict[str, Any], message: str) -> None:
    request = request_of(**changes)
    with pytest.raises(UserError, match=message) as caught:
        run.run_evaluation(request)
    assert "\n" not in str(caught.value)
    assert not request.out.is_file()


def test_an_interrupt_leaves_no_file(request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("refusion.evaluation.scoring.evaluate", interrupted)
    request = request_of()
    with pytest.raises(KeyboardInterrupt):
        run.run_evaluation(request)
    assert list(request.out.parent.iterdir()) == []


def test_all_metrics_are_those_that_the_pictures_are_large_enough_for(
    request_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = table(request_of(metrics=["all"]))
    assert {"MI", "Nabf", "PSNR"} <= set(found.columns)
    assert "MS-SSIM" not in found.columns
    assert "MS-SSIM is left out: it needs 176 pixels of a side" in capsys.readouterr().out


def test_the_module_that_comes_along_is_scored_as_its_folder(
    request_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ship_tiny(tmp_path / "pretrained", monkeypatch)
    found = table(request_of(("checkpoint", "pretrained"), ("checkpoint", f"same={folder}")))
    assert found["method"].to_list() == ["pretrained", "same"] * 3
    ours, same = (found[found["method"] == name][list(METRICS)].to_numpy() for name in ("pretrained", "same"))
    assert np.array_equal(ours, same)
    with pytest.raises(UserError, match="no trained module of MIF comes along"):
        run.run_evaluation(request_of(("checkpoint", "pretrained"), task="MIF"))


def scores_of(found: pd.DataFrame, method: str) -> Any:
    return found[found["method"] == method].set_index("name")[list(METRICS)]


def test_a_checkpoint_is_scored_as_it_is_and_adapted(request_of: Any, pairs: list[Pair], tmp_path: Path) -> None:
    trained = tiny_checkpoint(tmp_path / "trained")
    asked = {"adapt": 3, "adapt_rate": 1e-2}
    together = table(request_of(("checkpoint", f"ours={trained}"), ("baseline", "average"), **asked))
    assert together["method"].to_list()[:3] == ["ours", "ours-adapted", "average"]
    plain = table(request_of(("checkpoint", f"ours={trained}"), ("baseline", "average")))
    assert scores_of(together, "ours").equals(scores_of(plain, "ours"))
    assert not scores_of(together, "ours-adapted").equals(scores_of(plain, "ours"))
    each = table(request_of(("checkpoint", f"ours={trained}"), **asked, adapt_each=True))
    adaptation = Adaptation(load_learned_loss(trained, "IVIF"), "IVIF", 3, 1e-2)
    for found, chosen in ((together, pairs), (each, pairs[:1])):
        module = adaptation.to_pairs(load_module(trained), chosen)
        a, b = (read_image(Path(file)) for file in (pairs[0].a, pairs[0].b))
        fused = fuse_by_module(module, a, b).luminance
        expected = score_planes(fused, grey_levels(a), grey_levels(b), None, list(METRICS), "authors").scores
        assert scores_of(found, "ours-adapted").loc[pairs[0].name].to_dict() == pytest.approx(expected, rel=1e-4)


def test_what_cannot_be_adapted_is_refused(request_of: Any, checkpoint: Path) -> None:
    with pytest.raises(UserError, match="--adapt goes with --checkpoint"):
        run.run_evaluation(request_of(("baseline", "average"), adapt=2))
    with pytest.raises(UserError, match="2 methods are called 'x-adapted'"):
        methods = ("checkpoint", f"x={checkpoint}"), ("checkpoint", f"x-adapted={checkpoint}")
        run.run_evaluation(request_of(*methods, adapt=2))
