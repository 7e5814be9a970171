from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from refusion.tracking.models.version import Version, takes_best

NEW = Version("IVIF", "0" * 32, 3, "Qabf", {"Qabf": 0.5, "SSIM": 0.25}, "authors", "pairs", 2, "folder")
OTHER = replace(NEW, run_id="1" * 32)


def scored(score: float, **changes: Any) -> Version:
    """Another run's version with that score."""
    return replace(OTHER, scores={"Qabf": score}, **changes)


@pytest.mark.parametrize(
    ("holder", "new", "takes"),
    [
        (None, NEW, True),
        (None, scored(math.nan, data="builtin"), True),
        (scored(0.4), NEW, True),
        (OTHER, NEW, False),
        (scored(0.6), NEW, False),
        (scored(math.nan), NEW, True),
        (OTHER, replace(NEW, scores={"Qabf": math.nan}), False),
        # Scores that do not compare: more pairs count more, then the newest.
        (scored(0.6, dataset_digest="others"), NEW, True),
        (scored(0.6, dataset_digest="others", pairs=1), NEW, True),
        (scored(0.4, dataset_digest="others", pairs=3), NEW, False),
        (scored(0.6, convention="rgb"), NEW, True),
        (replace(OTHER, score_name="SSIM", scores={"SSIM": 0.6}), NEW, True),
        (OTHER, replace(NEW, scores={"Qabf": math.nan}, dataset_digest="others"), False),
        # Generated scenes never displace real pairs, which always displace them.
        (scored(0.6, data="builtin", dataset_digest="scenes", pairs=99), NEW, True),
        (OTHER, replace(NEW, data="builtin", dataset_digest="scenes", pairs=99), False),
        (replace(OTHER, data="builtin"), replace(NEW, data="builtin", scores={"Qabf": 0.6}), True),
        # The later best of the same run, chosen anew on other pairs.
        (replace(NEW, epoch=1, scores={"Qabf": 0.6}, pairs=1), NEW, True),
        (replace(NEW, epoch=1, scores={"Qabf": 0.6}, dataset_digest="more", pairs=9), NEW, True),
    ],
)
def test_who_takes_the_alias(holder: Version | None, new: Version, takes: bool) -> None:
    assert takes_best(holder and holder.tags(), new) is takes


def test_version_that_someone_registered_by_hand_can_be_displaced() -> None:
    assert takes_best({}, NEW)
    assert takes_best({**OTHER.tags(), "score": "good"}, NEW)
    # Whatever it is, it may be real data.
    assert not takes_best({}, replace(NEW, data="builtin"))


def test_a_version_that_was_scored_before_its_colour_was_restored_does_not_compare() -> None:
    older = {name: text for name, text in scored(0.9).tags().items() if name not in ("scored", "pairs")}
    assert takes_best(older, NEW)
