from __future__ import annotations

import pytest

from refusion.config.layers import check
from refusion.training.epochs import pace as pace_module
from refusion.training.epochs.pace import Pace, Stopwatch
from refusion.training.epochs.plan import EpochPlan, plan_training


@pytest.fixture
def plans() -> list[EpochPlan]:
    """Two epochs of 10 meta-iterations and 20 fusion updates; the second on crops of four times the area."""
    schedule = {"epochs": 2, "meta_iterations": 10, "fusion_steps": 20}
    return plan_training(check([{"schedule": schedule, "images": {"crop": {0: 16, 1: 32}}}]), 5, 3)


def test_the_time_left_is_the_sum_over_all_steps_that_are_left(plans: list[EpochPlan]) -> None:
    pace = Pace()
    pace.add("meta", plans[0].cost("meta"), 2.0)
    pace.add("fusion", plans[0].cost("fusion"), 1.0)
    assert pace.left(plans, 0, {}) is None  # no validation was measured yet
    pace.add("validation", 1.0, 3.0)
    first, second = 10 * 2 + 20 * 1 + 3 * 3, 10 * 8 + 20 * 4 + 3 * 3
    assert pace.left(plans, 0, {}) == pytest.approx(first + second)
    assert pace.left(plans, 0, {"meta": 10, "fusion": 5}) == pytest.approx(first - 25 + second)
    assert pace.left(plans, 1, {"meta": 10, "fusion": 20, "validation": 2}) == pytest.approx(3)
    assert pace.left(plans, 2, {}) == 0


def test_what_was_measured_lately_counts_most() -> None:
    pace = Pace()
    pace.add("meta", 10.0, 10.0)
    for _ in range(5):
        pace.add("meta", 100.0, 300.0)
    assert pace.of("meta", 1.0) == pytest.approx(3.0, rel=0.02)


def test_a_lap_covers_the_time_and_the_steps_since_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pace_module.time, "perf_counter", lambda: now[0])
    pace = Pace()
    watch = Stopwatch(pace, {"meta": 4})
    now[0] = 6.0
    watch.lap("meta", 1.0, 7)
    assert pace.of("meta", 1.0) == pytest.approx(2.0)
    now[0] = 7.0
    watch.lap("fusion", 1.0, 2)
    assert pace.of("fusion", 1.0) == pytest.approx(0.5)
