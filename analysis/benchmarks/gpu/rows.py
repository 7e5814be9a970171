"""One measured number with what it is compared with; as a line of JSON and as a row of the table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from rich.table import Table


@dataclass(frozen=True)
class Row:
    """A measurement.

    Attributes:
        section: the part of the report.
        what: what was measured.
        value: the number, in ``unit``; NaN where there is none, and ``note`` says why.
        times: how many times as fast as the textbook on the same device; NaN without one.
        peak_mb: megabytes that the call adds to the device's memory; NaN where that is not measured.
    """

    section: str
    what: str
    value: float = math.nan
    unit: str = ""
    times: float = math.nan
    peak_mb: float = math.nan
    note: str = ""

    def plain(self) -> dict[str, object]:
        """The fields for JSON, which has no NaN: None."""
        given = asdict(self).items()
        return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in given}

    def line(self) -> str:
        """The row as one line of JSON."""
        return json.dumps(self.plain(), ensure_ascii=False)


def read_row(line: str) -> Row:
    """The row of one line of JSON.

    Raises:
        ValueError: the line is no row's.
    """
    given = json.loads(line)
    if not isinstance(given, dict) or set(given) != {field.name for field in fields(Row)}:
        raise ValueError(f"no row: {line}")
    numbers = {name: math.nan for name in ("value", "times", "peak_mb") if given[name] is None}
    return Row(**{**given, **numbers})


def table_of(rows: Iterable[Row], title: str) -> Table:
    """All rows, with a line between the sections."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("measured", "× textbook", "peak MB"):
        table.add_column(column, justify="right")
    table.add_column("")
    last = ""
    for row in rows:
        if last and row.section != last:
            table.add_section()
        last = row.section
        form = ",.0f" if abs(row.value) >= 1000 else ".4g"
        value = "–" if math.isnan(row.value) else f"{row.value:{form}} {row.unit}".rstrip()
        numbers = ((row.times, ".2f"), (row.peak_mb, ".0f"))
        times, peak = ("" if math.isnan(number) else format(number, form) for number, form in numbers)
        table.add_row(f"{row.section}: {row.what}", value, times, peak, row.note)
    return table
