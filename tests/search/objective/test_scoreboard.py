from __future__ import annotations

import numpy as np
import pytest

from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard


def test_scores_follow_what_is_known() -> None:
    scoreboard = Scoreboard(Objective.parse("SSIM,Qabf", ["IVIF"]))
    scoreboard.add(0, 1, {"SSIM": 0.5, "Qabf": 0.5})
    assert scoreboard.score(0, 1) == 0.5
    scoreboard.add(1, 1, {"SSIM": 0.6, "Qabf": 0.6})
    assert scoreboard.scores_at(1) == {0: 0.0, 1: 1.0}
    scoreboard.add(2, 1, {"SSIM": 0.7, "Qabf": 0.7})
    assert scoreboard.scores_at(1) == {0: 0.0, 1: 0.5, 2: 1.0}


def test_only_numbers_are_kept() -> None:
    scoreboard = Scoreboard(Objective.parse("SSIM", ["IVIF"]))
    scoreboard.add(
        3, 2, {"SSIM": np.float32(0.5), "epoch": 2, "done": False, "node": "a", "config": {"x": 1}, "gone": None}
    )
    assert scoreboard.histories == {3: {2: {"SSIM": 0.5, "epoch": 2.0}}}


def test_a_repeated_result_replaces_the_earlier_one() -> None:
    scoreboard = Scoreboard(Objective.parse("SSIM", ["IVIF"]))
    scoreboard.add(3, 1, {"SSIM": 0.5, "AG": 1.0})
    scoreboard.add(3, 1, {"SSIM": 0.4})
    assert scoreboard.histories == {3: {1: {"SSIM": 0.4}}}


def test_later_epochs_are_cut_off_and_earlier_ones_stay() -> None:
    scoreboard = Scoreboard(Objective.parse("SSIM", ["IVIF"]))
    for epoch in (1, 2, 3):
        scoreboard.add(3, epoch, {"SSIM": epoch / 10})
        scoreboard.add(4, epoch, {"SSIM": epoch / 5})
    scoreboard.cut(3, 1)
    scoreboard.cut(99, 1)
    assert list(scoreboard.histories[3]) == [1]
    assert scoreboard.scores_at(2) == {4: 0.4}
    with pytest.raises(KeyError):
        scoreboard.score(3, 2)
