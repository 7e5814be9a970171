from __future__ import annotations

import json
import math
from io import StringIO

import pytest
from gpu.rows import Row, read_row, table_of
from rich.console import Console

FULL = Row("step", "meta-iteration, eager", 1234.5678, "ms", 3.25, 17.0, "a note")
EMPTY = Row("step", "compiled", note="nothing can be compiled here")


@pytest.mark.parametrize("row", [FULL, EMPTY])
def test_a_line_leads_back_to_the_row(row: Row) -> None:
    again = read_row(row.line())
    assert again.plain() == row.plain()
    assert math.isnan(again.value) == math.isnan(row.value)


def test_what_is_missing_is_null_in_json() -> None:
    assert json.loads(EMPTY.line()) | {"note": ""} == {
        "section": "step", "what": "compiled", "value": None, "unit": "", "times": None, "peak_mb": None, "note": "",
    }  # fmt: skip


@pytest.mark.parametrize("line", ["", "compiling …", "[]", "{}", '{"section": "step"}', FULL.line()[:-5]])
def test_other_lines_are_no_rows(line: str) -> None:
    with pytest.raises(ValueError):
        read_row(line)


def test_one_table_shows_all_numbers_and_notes() -> None:
    console = Console(file=StringIO(), width=140)
    console.print(table_of([FULL, EMPTY, Row("metrics", "EN", 0.5, "ms")], "a GPU"))
    lines = str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert cells == [
        ["step: meta-iteration, eager", "1,235 ms", "3.25", "17", "a note"],
        ["step: compiled", "–", "", "", "nothing can be compiled here"],
        ["metrics: EN", "0.5 ms", "", "", ""],
    ]
    assert sum(line.startswith("├") for line in lines) == 1, "a line between the sections"
