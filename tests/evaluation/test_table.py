from __future__ import annotations

import math

import pytest

from refusion.evaluation.table import Cell, Table, is_higher_better, number_text, table_of_one, table_of_several
from refusion.statistics import MeanInterval


def interval(mean: float, undefined: int = 0) -> MeanInterval:
    return MeanInterval(mean, mean - 0.125, mean + 0.125, 4, undefined)


def column(table: Table, head: str) -> list[Cell]:
    place = table.heads.index(head)
    return [row[place] for row in table.rows]


def several(higher: bool = True, **means: float) -> Table:
    return table_of_several({name: {"Q": interval(mean)} for name, mean in means.items()}, {"Q": higher})


def test_directions_come_from_the_catalogue() -> None:
    assert is_higher_better(["SSIM", "ref_SSIM"]) == {"SSIM": True, "ref_SSIM": True}
    with pytest.raises(KeyError):
        is_higher_better(["no such metric"])


def test_one_method_has_a_row_per_metric() -> None:
    table = table_of_one({"EN": interval(6.5), "CE": interval(0.75, undefined=1)}, {"EN": True, "CE": False})
    assert table.heads == ("metric", "better", "mean", "95 % interval", "pictures")
    texts = [[cell.text + cell.suffix for cell in row] for row in table.rows]
    assert texts == [
        ["EN", "↑", "6.500", "[6.375, 6.625]", "4"],
        ["CE", "↓", "0.7500‡", "[0.6250, 0.8750]", "4 of 5"],
    ]


def test_the_best_and_the_second_follow_the_direction() -> None:
    up = several(x=0.5, y=0.75, z=0.25)
    assert up.heads == ("method", "Q ↑", "average rank")
    assert [cell.highlight for cell in column(up, "Q ↑")] == ["second", "best", ""]
    assert [cell.suffix for cell in column(up, "Q ↑")] == [" (2)", " (1)", " (3)"]
    down = several(higher=False, x=0.5, y=0.75, z=0.25)
    assert [cell.highlight for cell in column(down, "Q ↓")] == ["second", "", "best"]
    assert [cell.text for cell in column(down, "average rank")] == ["2.00", "3.00", "1.00"]


def test_equal_methods_share_rank_and_place() -> None:
    cells = column(several(x=0.5, y=0.75, z=0.75), "Q ↑")
    assert [(cell.highlight, cell.suffix) for cell in cells] == [
        ("second", " (3)"),
        ("best", " (1.5)"),
        ("best", " (1.5)"),
    ]
    assert {cell.highlight for cell in column(several(x=0.5, y=0.5), "Q ↑")} == {""}


def test_marks_stand_between_the_mean_and_the_rank() -> None:
    found = {"x": {"Q": interval(0.5)}, "y": {"Q": interval(0.75, undefined=2)}}
    cells = column(table_of_several(found, {"Q": True}, {("y", "Q")}), "Q ↑")
    assert cells == [
        Cell("0.5000", " (2)", "[0.3750, 0.6250]", "second"),
        Cell("0.7500", "†‡ (1)", "[0.6250, 0.8750]", "best"),
    ]


def test_a_method_without_a_metric_has_no_average_rank() -> None:
    nothing = MeanInterval(math.nan, math.nan, math.nan, 0, 5)
    found = {
        "x": {"Q": interval(0.5), "R": interval(0.5), "S": nothing},
        "y": {"Q": nothing, "R": interval(0.75), "S": nothing},
    }
    table = table_of_several(found, {"Q": True, "R": True, "S": True})
    assert [cell.text for cell in column(table, "average rank")] == ["1.50", "–"]
    assert column(table, "Q ↑")[1] == Cell("–", "‡", "–")


@pytest.mark.parametrize(
    ("means", "texts"),
    [
        ((0.71234567, 0.5), ("0.7123", "0.5000")),
        ((6.87654, 6.5), ("6.877", "6.500")),
        ((45.6789, 40.0), ("45.68", "40.00")),
        ((12345.67, 1.0), ("12345.7", "1.0")),
        ((0.712345, 0.712346), ("0.712345", "0.712346")),
        ((0.7123451, 0.7123452), ("0.7123", "0.7123")),
        ((-0.5, -0.00001), ("-0.5000", "0.0000")),
        ((0.5, -0.0000001), ("0.5000", "0.0000")),
        ((0.0, math.inf), ("0.0000", "∞")),
    ],
)
def test_digits_suffice_to_tell_methods_apart(means: tuple[float, float], texts: tuple[str, str]) -> None:
    cells = column(several(x=means[0], y=means[1]), "Q ↑")
    assert tuple(cell.text for cell in cells) == texts


def test_no_number_is_a_dash() -> None:
    assert [number_text(value, 2) for value in (math.nan, -math.inf, -0.001)] == ["–", "-∞", "0.00"]
