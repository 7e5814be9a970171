from __future__ import annotations

import pytest
import torch
from gpu.timeline import Timeline, profiled, timeline_of


@pytest.mark.parametrize(
    ("spans", "timeline"),
    [
        ([], (0, 0.0, 0.0)),
        ([(5, 5)], (1, 1.0, 0.0)),
        ([(10, 20)], (1, 1.0, 0.0)),
        ([(0, 4), (6, 10)], (2, 0.8, 2.0)),
        # Out of order, one inside another, two that touch.
        ([(20, 30), (0, 10), (2, 5), (10, 12)], (4, 22 / 30, 8.0)),
        ([(0, 1), (2, 3), (6, 7), (8, 10)], (4, 0.5, 1.0)),
    ],
)
def test_gaps_are_where_no_kernel_runs(spans: list[tuple[float, float]], timeline: tuple[int, float, float]) -> None:
    assert timeline_of(spans) == Timeline(*(pytest.approx(value) for value in timeline))


def test_a_calls_innermost_operations_are_counted_on_the_cpu() -> None:
    x = torch.ones(64, 64)
    found = profiled(lambda: torch.exp(x) + torch.sin(x), "cpu")
    assert found.kernels == 3
    assert 0 < found.busy < 1
    assert found.gap > 0
