from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from refusion.baselines import fuse_baseline
from refusion.config.settings import Settings
from refusion.fuse import fuse_pair
from refusion.images import store as store_module
from refusion.images.colour import luminance, saved_luminance
from refusion.images.reading import read_image
from refusion.images.store import PairStore
from refusion.images.writing import write_image
from refusion.meta.state import TrainingState
from refusion.metrics import METRICS, evaluate
from refusion.objectives import FusionWeights
from refusion.runtime.distributed import Shard
from refusion.tracking.views.pictures import SHEET
from refusion.training import validation
from refusion.training.pictures import weight_maps as maps_of_weights
from refusion.training.pictures.weight_maps import weight_maps
from refusion.training.validation import Measured, average_baseline, measure, validate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state(tiny: Settings) -> TrainingState:
    return TrainingState(tiny, "IVIF")


def validated(state: TrainingState, store: PairStore, indices: list[int], **changes: Any) -> Measured:
    told: dict[str, Any] = {"shard": Shard(), "pictures": 1, "device": CPU}
    return validate(state.fusion, state.loss_proposal, store, indices, **(told | changes))


def test_means_are_taken_over_the_pairs() -> None:
    measured = Measured({"x": {"EN": 1.0, "Qabf": 0.5}, "y": {"EN": 2.0, "Qabf": 0.25}})
    assert measured.means() == {"EN": 1.5, "Qabf": 0.375}
    assert Measured().means() == {}


def test_a_pair_without_a_value_leaves_no_mean() -> None:
    means = Measured({"x": {"EN": 1.0, "Qabf": math.nan}, "y": {"EN": 2.0, "Qabf": 0.25}}).means()
    assert math.isnan(means["Qabf"])
    assert means["EN"] == 1.5


def test_scores_are_those_of_the_picture_that_fuse_saves(
    state: TrainingState, val_store: PairStore, tmp_path: Path
) -> None:
    measured = validated(state, val_store, [0, 1])
    assert list(measured.scores) == [pair.name for pair in val_store.pairs]
    picture = fuse_pair(state.fusion, *val_store.originals(1))
    write_image(tmp_path / "saved.png", picture)
    fused = torch.from_numpy(luminance(read_image(tmp_path / "saved.png")) * 255)
    a, b = (torch.from_numpy(source) * 255.0 for source in val_store.sources(1))
    expected = {name: value.item() for name, value in evaluate(fused, a, b).items()}
    assert measured.scores["scene_1"] == pytest.approx(expected, rel=1e-12)
    assert list(expected) == list(METRICS)


def test_a_pair_is_decoded_once_for_all_validations_and_the_average(
    state: TrainingState, val_store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read = PairStore(val_store.pairs), []
    read_source = store_module.read_source
    monkeypatch.setattr(store_module, "read_source", lambda file, *how: read.append(file) or read_source(file, *how))
    first = validated(state, store, [0, 1])
    average_baseline(store, [0, 1], Shard())
    assert validated(state, store, [0, 1]).scores == first.scores
    assert sorted(map(str, read)) == sorted(file for pair in store.pairs for file in (pair.a, pair.b))


def test_only_the_chosen_pairs_are_measured(state: TrainingState, val_store: PairStore) -> None:
    assert list(validated(state, val_store, [1]).scores) == ["scene_1"]


@pytest.mark.parametrize(
    ("pictures", "kept"),
    [(0, set()), (1, {"scene_1"}), (5, {"scene_0", "scene_1"})],
)
def test_pictures_of_evenly_spread_pairs_are_kept(
    state: TrainingState, val_store: PairStore, pictures: int, kept: set[str]
) -> None:
    found = validated(state, val_store, [0, 1], pictures=pictures).pictures
    sheet = {f"{SHEET}/validation"} if kept else set()
    assert set(found) == {f"{kind}/{name}" for kind in ("fused", "weights") for name in kept} | sheet
    for name, picture in found.items():
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3  # b is in colour, so the fused image is
        assert picture.shape[:2] == (44, 52) or not name.startswith("fused")


def test_workers_share_the_pairs_out_among_themselves(
    state: TrainingState, val_store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = validated(state, val_store, [0, 1])
    parts = [validated(state, val_store, [0, 1], shard=Shard(rank, 2)) for rank in (0, 1)]
    assert [list(part.scores) for part in parts] == [["scene_0"], ["scene_1"]]
    # In whatever order the parts come, the pairs keep theirs.
    monkeypatch.setattr(validation, "gather_on_all", lambda _: parts[::-1])
    joined = validated(state, val_store, [0, 1])
    assert list(joined.scores) == list(whole.scores)
    assert joined.means() == whole.means()
    assert set(joined.pictures) == set(whole.pictures)


def test_progress_is_told_pair_by_pair(state: TrainingState, val_store: PairStore) -> None:
    told: list[tuple[int, int]] = []
    validated(state, val_store, [0, 1], progress=lambda *what: told.append(what))
    assert told == [(1, 2), (2, 2)]


def test_the_baseline_is_the_saved_average_of_the_sources(val_store: PairStore) -> None:
    baseline = average_baseline(val_store, [0, 1], Shard())
    first, second = val_store.originals(0)
    a, b = (torch.from_numpy(source) * 255.0 for source in val_store.sources(0))
    fused = torch.from_numpy(saved_luminance(fuse_baseline("average", first, second, "IVIF")))
    expected = {name: value.item() for name, value in evaluate(fused, a, b).items()}
    assert baseline.scores["scene_0"] == pytest.approx(expected, rel=1e-4)
    # Colour that is clipped costs little here.
    assert expected["Qabf"] == pytest.approx(evaluate(torch.round((a + b) / 2), a, b)["Qabf"].item(), abs=0.1)
    assert list(baseline.scores) == ["scene_0", "scene_1"]
    assert baseline.pictures == {}


def test_measuring_compares_like_with_like() -> None:
    """An image fused from itself twice keeps all of its edges."""
    image = np.random.default_rng(0).integers(0, 256, (44, 52), dtype=np.uint8)
    sources = np.stack([image, image]).astype(np.float32) / np.float32(255)
    scores = measure(image, sources)
    assert scores["SSIM"] == pytest.approx(measure(image, sources[::-1].copy())["SSIM"])
    assert scores["Qabf"] > measure(np.full_like(image, 128), sources)["Qabf"]


def test_maps_of_large_images_are_made_from_smaller_ones(
    state: TrainingState, val_store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[torch.Size] = []

    def noted(weights: FusionWeights) -> np.ndarray:
        sizes.append(weights.intensity.shape)
        return weight_maps(weights)

    monkeypatch.setattr(maps_of_weights, "_MAP_SIDE", 26)
    monkeypatch.setattr(validation, "weight_maps", noted)
    pictures = validated(state, val_store, [0]).pictures
    assert sizes == [(1, 2, 22, 26)]
    assert pictures["fused/scene_0"].shape == (44, 52, 3)
