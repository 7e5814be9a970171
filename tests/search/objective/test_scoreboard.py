from __future__ import annotations

import numpy as np
import pytest

from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Judge


def test_scores_follow_what_is_known() -> None:
    judge = Judge(Objective.parse("SSIM,Qabf", ["IVIF"]))
    judge.add(0, 1, {"SSIM": 0.5, "Qabf": 0.5})
    assert judge.score(0, 1) == 0.5
    judge.add(1, 1, {"SSIM": 0.6, "Qabf": 0.6})
    assert judge.scores_at(1) == {0: 0.0, 1: 1.0}
    judge.add(2, 1, {"SSIM": 0.7, "Qabf": 0.7})
    assert judge.scores_at(1) == {0: 0.0, 1: 0.5, 2: 1.0}


def test_only_numbers_are_kept() -> None:
    judge = Judge(Objective.parse("SSIM", ["IVIF"]))
    judge.add(3, 2, {"SSIM": np.float32(0.5), "epoch": 2, "done": False, "node": "a", "config": {"x": 1}, "gone": None})
    assert judge.histories == {3: {2: {"SSIM": 0.5, "epoch": 2.0}}}


def test_a_repeated_result_replaces_the_earlier_one() -> None:
    judge = Judge(Objective.parse("SSIM", ["IVIF"]))
    judge.add(3, 1, {"SSIM": 0.5, "AG": 1.0})
    judge.add(3, 1, {"SSIM": 0.4})
    assert judge.histories == {3: {1: {"SSIM": 0.4}}}


def test_later_epochs_are_cut_off_and_earlier_ones_stay() -> None:
    judge = Judge(Objective.parse("SSIM", ["IVIF"]))
    for epoch in (1, 2, 3):
        judge.add(3, epoch, {"SSIM": epoch / 10})
        judge.add(4, epoch, {"SSIM": epoch / 5})
    judge.cut(3, 1)
    judge.cut(99, 1)
    assert list(judge.histories[3]) == [1]
    assert judge.scores_at(2) == {4: 0.4}
    with pytest.raises(KeyError):
        judge.score(3, 2)
