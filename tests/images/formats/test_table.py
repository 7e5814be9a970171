"""Every cell of the table in docs/your-data.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import cells
from pictures.cells import CELLS, Cell

from refusion.config.ranges import parse_ranges
from refusion.images import Reading
from refusion.images.formats import IMAGE_SUFFIXES
from refusion.images.pair_check import check_sources
from refusion.images.store import read_pair
from refusion.images.writing import write_image

DOCS = Path(__file__).resolve().parents[3] / "docs" / "your-data.md"


def test_the_page_has_the_table() -> None:
    assert cells.table() in DOCS.read_text(encoding="utf-8")


def test_every_suffix_is_on_the_page() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [suffix for suffix in IMAGE_SUFFIXES if f"`{suffix}`" not in text] == []


@pytest.mark.parametrize("name", CELLS, ids=lambda name: " ".join(name))
def test_a_cell(tmp_path: Path, name: tuple[str, str]) -> None:
    cell: Cell = CELLS[name]
    file, other = tmp_path / f"a{cell.suffix}", tmp_path / "b.png"
    cell.write(file)
    write_image(other, np.arange(54, dtype=np.uint8).reshape(6, 9))
    checked = check_sources(file, other, "IVIF")
    if cell.expected is None:
        assert [(problem.kind, problem.file) for problem in checked.problems] == [("range", str(file))]
        assert "state it with --range LOW,HIGH" in checked.problems[0].what
        stated = check_sources(file, other, "IVIF", reading=Reading(parse_ranges("a=-1000,2000 b=full")))
        assert stated.pairs[0].range_a == (-1000, 2000)
        return
    assert not checked.problems
    a, b = read_pair(checked.pairs[0])
    np.testing.assert_allclose(a, cell.expected, atol=cell.tolerance)
    assert a.dtype == np.float32
    assert np.array_equal(b, np.arange(54).reshape(6, 9))
    assert any(note.kind == "range" for note in checked.notes) == (checked.pairs[0].range_a is not None)
