from __future__ import annotations

import pytest
from gpu.rows import Row
from gpu.steps import ON_IMAGE, PARTS
from gpu.targets import TARGETS, target_rows

FIRST, THRICE = (f"{ON_IMAGE} K = {steps}, batch 4, 96×96, graph" for steps in (1, 3))


@pytest.mark.parametrize(("value", "note"), [(11.5, "at most 12 ms: met"), (14.25, "at most 12 ms: missed by 2.25 ms")])
def test_a_number_is_met_or_missed_by_something(value: float, note: str) -> None:
    (row,) = (row for row in target_rows([Row("step", FIRST, value, "ms")], "NVIDIA H100") if row.what == FIRST)
    assert (row.value, row.unit, row.note) == (value, "ms", note)


def test_ratios_peaks_and_what_is_to_be_large() -> None:
    given = [
        Row("step", FIRST, 10.0, "ms"),
        Row("step", THRICE, 35.0, "ms"),
        Row("inference", "4096×3072, in tiles", 400.0, "ms", peak_mb=4100.0),
        Row("trials", "1 at a time in one process", 100.0, "per hour"),
        Row("trials", "16 at a time in one process", 700.0, "per hour"),
    ]
    found = {row.what: row for row in target_rows(given, "NVIDIA H100")}
    assert len(found) == len(TARGETS)
    assert found[f"{THRICE}, against {FIRST}"].note == "at most 3 ×: missed by 0.5 ×"
    assert found["4096×3072, in tiles"].note == "at most 500 ms: met"
    peak = found["4096×3072, in tiles, peak"]
    assert (peak.value, peak.unit, peak.note) == (4100.0, "MB", "at most 4000 MB: missed by 100 MB")
    assert (
        found["16 at a time in one process, against 1 at a time in one process"].note == "at least 8 ×: missed by 1 ×"
    )
    assert found["640×480, in tiles"].note == "at most 4 ms: not measured"


def test_targets_of_steps_name_parts_of_a_step() -> None:
    assert all(target.what.startswith(PARTS) for target in TARGETS if target.section == "step")


def test_without_a_card_and_on_another_that_is_said() -> None:
    assert all(row.note.endswith(": not run on a card") for row in target_rows([]))
    missing = [Row("step", FIRST, note="out of memory"), Row("step", THRICE, 30.0, "ms")]
    found = {row.what: row.note for row in target_rows(missing, "NVIDIA A100")}
    assert found[FIRST] == "at most 12 ms (of an H100): out of memory"
    assert found[f"{THRICE}, against {FIRST}"] == "at most 3 × (of an H100): not measured"
