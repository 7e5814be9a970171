from __future__ import annotations

import warnings
from typing import Any

import pytest
from gpu import steps
from gpu.ratios import with_times
from gpu.rows import Row
from gpu.steps import ON_IMAGE, TEXTBOOK, THROUGH, UPDATE, WAYS, Way, in_order, label, missing_ways, sizes
from gpu.targets import TARGETS


def test_what_has_a_target_is_measured_first_and_nothing_twice() -> None:
    order = in_order("cuda")
    assert len(set(order)) == len(order)
    assert {size for size, _ in order} == set(sizes("cuda"))
    assert {way for _, way in order} == {TEXTBOOK, *WAYS}
    first = {f"{label(part, size)}, {way}" for size, way in order[:6] for part in (ON_IMAGE, THROUGH, UPDATE)}
    assert {target.what for target in TARGETS if target.section == "step"} <= first


def test_each_row_is_compared_with_the_textbook_of_its_size() -> None:
    small, large = sizes("cuda")[0], sizes("cuda")[2]
    rows = with_times(
        [
            Row("step", f"{label(ON_IMAGE, small)}, graph, tf32", 10.0, "ms"),
            Row("step", f"{label(UPDATE, small)}, eager", 5.0, "ms"),
            Row("step", f"{label(ON_IMAGE, large)}, graph", 10.0, "ms"),
            Row("step", "graph, tf32", note="not here"),
            Row("epoch", "one, two, three, four", 4.0, "s"),
            Row("step", f"{label(THROUGH, small)}, {TEXTBOOK}", 1000.0, "ms"),
            Row("step", f"{label(UPDATE, small)}, {TEXTBOOK}", 50.0, "ms"),
        ]
    )
    assert [row.plain()["times"] for row in rows] == [100.0, 10.0, None, None, None, 1.0, 1.0]


def test_kernels_that_do_not_run_are_not_measured_under_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def runs(_: Any) -> bool:
        warnings.warn("refusion convolves without Triton: no module named 'triton'", stacklevel=1)
        return False

    monkeypatch.setattr(steps, "runs_triton", runs)
    monkeypatch.setattr(steps, "WAYS", {"graph": Way(graph=True), "fused": Way(graph=True, kernels="fused")})
    monkeypatch.setattr(steps.torch, "zeros", lambda *_, **__: None)
    (row,) = missing_ways("cuda")
    assert (row.what, row.note) == ("fused", "refusion convolves without Triton: no module named 'triton'")


@pytest.mark.parametrize(
    ("error", "note"),
    [
        ("CUDA error: an illegal address\nmore", "broke: CUDA error: an illegal address"),
        ("CUDA out of memory. Tried", ""),
    ],
)
def test_a_way_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch, error: str, note: str) -> None:
    def measured(*_: Any) -> tuple[float, float]:
        raise RuntimeError(error)

    monkeypatch.setattr(steps, "measured", measured)
    monkeypatch.setattr(steps, "WAYS", {"eager": Way()})
    rows = list(steps.speed_rows("cpu"))
    assert len(rows) == 5
    assert {row.note for row in rows} == {note or error}
