from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from refusion.config.settings import ValidationSettings
from refusion.errors import UserError
from refusion.images.pairs import Pair
from refusion.metrics import METRICS
from refusion.search.manifest import SweepRequest, open_manifest
from refusion.search.results import held_out
from refusion.search.results.held_out import score_pair, split_val
from refusion.search.trials.training import TrialCache, TrialPlan, TrialTraining

Pairs = dict[str, tuple[list[Pair], list[Pair]]]


def many(count: int) -> list[Pair]:
    return [Pair(f"scene_{index:02d}", f"a{index}", f"b{index}", 44, 52, "") for index in range(count)]


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [(10, 0.5, 5), (10, 0.3, 3), (10, 0.0, 0), (10, 0.99, 9), (3, 0.5, 2), (2, 0.5, 1), (2, 0.9, 1), (1, 0.5, 0)],
)
def test_the_share_is_held_out_and_one_pair_at_least_is_seen(count: int, share: float, held: int) -> None:
    pairs = many(count)
    split = split_val(pairs, share, ValidationSettings(), 9)
    assert len(split.held_out) == held
    assert len(split.seen) == count - held >= 1
    assert split.all == pairs
    if share:
        assert not set(split.seen) & set(split.held_out)


@pytest.mark.parametrize("share", [0.2, 0.25, 0.4, 0.5, 0.75])
def test_both_parts_are_spread_over_the_whole(share: float) -> None:
    pairs = many(40)
    split = split_val(pairs, share, ValidationSettings(), 9)
    for part, of_all in ((split.held_out, share), (split.seen, 1 - share)):
        places = [pairs.index(pair) for pair in part]
        assert places == sorted(places)
        gaps = [after - before for before, after in itertools.pairwise(places)]
        assert max(gaps) <= 1 / of_all + 1
        assert abs(sum(place < 20 for place in places) - len(places) / 2) <= 1


def test_the_split_is_the_same_every_time() -> None:
    settings = ValidationSettings()
    assert split_val(many(11), 0.4, settings, 9) == split_val(many(11), 0.4, settings, 9)


def test_pairs_beyond_what_validations_look_at_are_held_out_as_well() -> None:
    pairs = many(14)
    few = ValidationSettings.model_validate({"images": {0: 3, 8: 5}, "every": 3})
    assert len(split_val(pairs, 0.5, few, 9).held_out) == 9
    # The last epoch is always validated; before it the piece of five is never reached.
    assert len(split_val(pairs, 0.5, few, 8).held_out) == 11
    assert len(split_val(pairs, 0.8, few, 9).held_out) == 11
    assert split_val(pairs, 0.0, few, 9).held_out == []


def test_a_checkpoint_scores_pairs_as_the_trial_itself_did(
    request_of: Callable[..., SweepRequest], plan_of: Callable[..., TrialPlan], pairs: Pairs, tmp_path: Path
) -> None:
    training = TrialTraining(TrialCache(plan_of(open_manifest(request_of(task=["IVIF", "MIF"])))), {})
    numbers = training.train_epoch()
    training.save(tmp_path)
    for task in ("IVIF", "MIF"):
        val = pairs[task][1]
        scores = [score_pair(str(tmp_path), task, asdict(pair), 1) for pair in val]
        for metric in METRICS:
            mean = sum(found[metric] for found in scores) / len(val)
            assert mean == pytest.approx(numbers[f"{task}/{metric}"], rel=1e-9)
        assert len({found["Qabf"] for found in scores}) == len(val)


def test_a_machine_that_lacks_a_pair_makes_it_available_first(
    request_of: Callable[..., SweepRequest],
    plan_of: Callable[..., TrialPlan],
    pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    TrialTraining(TrialCache(plan_of(open_manifest(request_of(task=["IVIF"])))), {}).save(tmp_path)
    here, source = pairs["IVIF"][1][0], ("s3://ours/pairs", str(tmp_path / "staged"))
    there = replace(here, a=str(tmp_path / "staged" / "a.png"), b=str(tmp_path / "staged" / "b.png"))
    made: list[tuple[str, Path]] = []

    def make_available(data: str, folder: Path) -> None:
        made.append((data, folder))
        folder.mkdir()
        shutil.copy(here.a, there.a)
        shutil.copy(here.b, there.b)

    monkeypatch.setattr(held_out, "make_available", make_available)
    expected = score_pair(str(tmp_path), "IVIF", asdict(here), 1, source)
    assert made == []
    for _ in range(2):
        assert score_pair(str(tmp_path), "IVIF", asdict(there), 1, source) == expected
    assert made == [(source[0], Path(source[1]))]


def test_what_is_no_checkpoint_is_refused(pairs: Pairs, tmp_path: Path) -> None:
    (tmp_path / "IVIF").mkdir()
    with pytest.raises(UserError, match=r"there is no fusion\.safetensors"):
        score_pair(str(tmp_path), "IVIF", asdict(pairs["IVIF"][1][0]), 1)
