from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from refusion.baselines import fuse_baseline
from refusion.errors import UserError
from refusion.evaluation.methods import Method
from refusion.evaluation.scoring import (
    ItemScores,
    Scorer,
    full_reference,
    fuse_by_baseline,
    fuse_by_module,
    grey_levels,
    score_planes,
)
from refusion.evaluation.work_items import Scene, WorkItem
from refusion.fuse import fuse_pair
from refusion.images.pairs import Pair
from refusion.images.reading import read_image
from refusion.images.store import PairStore
from refusion.images.writing import write_image
from refusion.metrics import METRICS, evaluate, evaluate_against
from refusion.networks import FusionModule
from refusion.runtime.distributed import Shard
from refusion.training.validation import average_baseline, measure, validate

METRICS_HERE = ("EN", "SSIM", "Qabf")
Triple = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@pytest.fixture
def planes() -> Triple:
    a, b, noise = np.random.default_rng(0).uniform(0, 255, (3, 40, 44)).astype(np.float32)
    return 0.5 * a + 0.4 * b + 0.1 * noise, a, b


def test_scores_are_those_of_the_metrics(planes: Triple) -> None:
    expected = {name: float(value[0]) for name, value in evaluate(*planes, METRICS_HERE, "authors").items()}
    assert score_planes(*planes, None, METRICS_HERE, "authors") == ItemScores(expected, False)


def test_the_true_image_scores_what_has_a_meaning_against_it(planes: Triple) -> None:
    fused, a, b = planes
    truth = np.clip(fused + 3, 0, 255)
    scores = score_planes(fused, a, b, truth, METRICS_HERE, "authors").scores
    assert list(scores) == [*METRICS_HERE, "ref_SSIM"]
    assert scores["ref_SSIM"] == float(evaluate_against(fused, truth, ["SSIM"])["SSIM"][0])
    assert score_planes(fused, a, b, fused.round(), METRICS_HERE, "authors").scores["ref_SSIM"] == pytest.approx(1)


def test_metrics_with_a_true_image() -> None:
    assert full_reference(["EN", "SSIM", "Qabf", "VIF"]) == ["SSIM", "VIF"]


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 1), (4, 4)])
def test_a_smaller_fused_picture_is_scored_where_it_belongs(planes: Triple, top: int, left: int) -> None:
    fused, a, b = planes
    part = slice(top, top + 36), slice(left, left + 40)
    expected = score_planes(fused[part], a[part], b[part], a[part], METRICS_HERE, "authors").scores
    assert score_planes(fused[part], a, b, a, METRICS_HERE, "authors") == ItemScores(expected, True)


def test_a_larger_fused_picture_is_cut_to_its_sources(planes: Triple) -> None:
    fused, a, b = planes
    part = slice(2, 38), slice(3, 43)
    expected = score_planes(fused[part], a[part], b[part], a[part], METRICS_HERE, "authors").scores
    assert score_planes(fused, a[part], b[part], a[part], METRICS_HERE, "authors") == ItemScores(expected, True)


def test_sizes_that_never_fit_are_refused(planes: Triple) -> None:
    fused, a, b = planes
    with pytest.raises(UserError, match="40×44 pixels do not fit"):
        score_planes(fused.T.copy(), a, b, None, METRICS_HERE, "authors")


def test_what_is_undefined_is_no_number(planes: Triple) -> None:
    _, a, _ = planes
    flat = np.full_like(a, 7)
    scores = score_planes(flat, flat, flat, None, ("EN", "SCD"), "authors").scores
    assert scores["EN"] == 0
    assert np.isnan(scores["SCD"])


def scorer(**changes: object) -> Scorer:
    return replace(Scorer(METRICS, "authors"), **changes)  # type: ignore[arg-type]


def test_each_kind_of_method_is_scored_from_its_files(pairs: list[Pair], module: FusionModule, tmp_path: Path) -> None:
    fused = tmp_path / "fused.png"
    write_image(fused, np.rint(read_image(Path(pairs[0].a))).astype(np.uint8))
    picture = Scene(pairs[0], {"files": str(fused)}, pairs[0].a)
    saved = {name: str(tmp_path) for name in ("files", "module", "mean")}
    all_of_it = scorer(modules={"module": module}, save_folders=saved)
    methods = (
        Method("files", "fused", str(tmp_path)),
        Method("module", "checkpoint", "x.pth"),
        Method("mean", "baseline", "average"),
    )
    found = {}
    for method in methods:
        found[method.name] = all_of_it.score(WorkItem(method, picture)).scores
        assert list(found[method.name]) == [*METRICS, "ref_SSIM", "ref_VIF"]
        # Files that are there are not written anew.
        assert (tmp_path / "one.png").exists() is (method.name != "files")
        (tmp_path / "one.png").unlink(missing_ok=True)
    assert found["files"]["ref_SSIM"] == pytest.approx(1)
    assert len({scores["EN"] for scores in found.values()}) == 3


def test_what_is_saved_is_what_was_scored_where_there_is_no_colour(pairs: list[Pair], tmp_path: Path) -> None:
    grey = replace(pairs[0], b=pairs[1].a)
    method = Method("mean", "baseline", "average")
    scored = scorer(save_folders={"mean": str(tmp_path)}).score(WorkItem(method, Scene(grey)))
    again = Scene(grey, {"files": str(tmp_path / "one.png")})
    assert scorer().score(WorkItem(Method("files", "fused", ""), again)) == scored


def test_an_error_names_the_file(pairs: list[Pair], tmp_path: Path) -> None:
    write_image(tmp_path / "tiny.png", np.zeros((48, 6), np.uint8))
    item = WorkItem(Method("files", "fused", ""), Scene(pairs[0], {"files": str(tmp_path / "tiny.png")}))
    with pytest.raises(UserError, match=r"tiny\.png: 6×48 pixels do not fit"):
        scorer().score(item)
    Path(pairs[0].b).unlink()
    with pytest.raises(UserError, match=r"b/one\.png: cannot be read"):
        scorer().score(item)


def test_a_module_gives_what_validation_scores_and_what_fuse_writes(module: FusionModule, pairs: list[Pair]) -> None:
    a, b = read_image(Path(pairs[0].a)), read_image(Path(pairs[0].b))
    fused = fuse_by_module(module, a, b)
    assert fused.picture is not None
    assert np.array_equal(fused.picture, fuse_pair(module, a, b))
    store = PairStore(pairs)
    loss_proposal = torch.nn.Identity()
    shard = Shard(0, 1)
    validated = validate(module, loss_proposal, store, [0], shard=shard, pictures=0, device=torch.device("cpu"))  # type: ignore[arg-type]
    assert measure(fused.luminance, store.sources(0)) == validated.scores["one"]  # type: ignore[arg-type]


def test_the_average_is_that_of_validation(pairs: list[Pair]) -> None:
    a, b = read_image(Path(pairs[1].a)), read_image(Path(pairs[1].b))
    fused = fuse_by_baseline("average", a, b)
    store = PairStore(pairs)
    expected = average_baseline(store, [1], Shard(0, 1)).scores["three"]
    assert measure(fused.luminance, store.sources(1)) == expected  # type: ignore[arg-type]


def test_a_baseline_gives_its_own_picture(pairs: list[Pair]) -> None:
    a, b = read_image(Path(pairs[0].a)), read_image(Path(pairs[0].b))
    fused = fuse_by_baseline("laplacian", a, b)
    assert fused.picture is not None
    assert np.array_equal(fused.picture, fuse_baseline("laplacian", a, b, "IVIF"))
    assert fused.luminance.dtype == np.uint8
    assert np.array_equal(np.rint(grey_levels(fused.picture)), fused.luminance)


def test_grey_files_keep_their_grey_levels() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(np.rint(grey_levels(levels)), levels)
    assert np.array_equal(np.rint(grey_levels(np.dstack([levels] * 3))), levels)
