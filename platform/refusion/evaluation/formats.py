"""Formats of a score table: plain text for a terminal, Markdown for GitHub, LaTeX for a paper."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from refusion.evaluation.table import Cell, Table

# So many columns fit across a two-column page.
_LATEX_COLUMNS = 7
_GAP = 2
# A longer method name is wrapped.
_WIDEST_STUB = 40
_STYLES = {"best": "bold", "second": "underline", "": ""}

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
    # A row that starts with one of these would be read as an option of the line's end before it.
    "[": "{[}",
    "*": "{*}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "∞": r"$\infty$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "…": r"\ldots{}",
}
# A minus before a number, two hyphens that would become a dash, and all of the above.
_LATEX_SIGNS = re.compile("(?P<minus>(?<![\\w-])-(?=[\\d∞]))|(?P<hyphens>-(?=-))|[" + re.escape("".join(_LATEX)) + "]")
_MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>|#~$&])")


def as_text(table: Table, caption: str, notes: Sequence[str], width: int | None = None, styled: bool = False) -> str:
    """Returns the table for a terminal: as many columns side by side as fit, the others below them.

    Args:
        table, caption, notes: the content.
        width: in characters; None for the terminal's, 80 where there is none.
        styled: best bold and second underlined, with a terminal's control codes; else plain characters only.
    """
    available = width or Console().width
    parts = list(_split(table, lambda part: _width(part) <= available))
    console = Console(
        file=io.StringIO(),
        width=max(available, *map(_width, parts)),
        force_terminal=styled,
        color_system="standard" if styled else None,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as printed:
        console.print(Text(_one_line(caption), style="bold"), width=available)
        console.print()
        for part in parts:
            console.print(_rich(part))
            console.print()
        for note in notes:
            console.print(Text(_one_line(note)), width=available)
    return "\n".join(line.rstrip() for line in printed.get().splitlines()) + "\n"


def as_markdown(table: Table, caption: str, notes: Sequence[str]) -> str:
    """Returns the table for GitHub: best bold, second underlined, intervals on a second line of their cell."""
    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    frame = pd.DataFrame(rows, columns=[_markdown(head) for head in table.heads])
    sides = ["left" if place < table.stub else "right" for place in range(len(table.heads))]
    body = frame.to_markdown(index=False, tablefmt="github", disable_numparse=True, colalign=sides)
    return (
        "\n\n".join([f"**{_markdown(caption)}**", str(body), "\n".join(f"- {_markdown(note)}" for note in notes)])
        + "\n"
    )


def as_latex(table: Table, caption: str, notes: Sequence[str], label: str) -> str:
    """Returns the table as a LaTeX ``table*`` that needs the package booktabs; many columns make several tabulars."""
    text = " ".join([_latex(caption).rstrip(".") + ".", *(_latex(note) for note in notes)])
    heads = [r"\begin{table*}", r"\centering", f"\\caption{{{text}}}", f"\\label{{{label}}}"]
    parts = [_tabular(part) for part in _split(table, lambda part: len(part.heads) <= _LATEX_COLUMNS)]
    return "\n".join([*heads, "\n\n\\medskip\n".join(parts), r"\end{table*}"]) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _split(table: Table, fits: Callable[[Table], bool]) -> Iterator[Table]:
    """Yields the table in parts, each with the stub and as many further columns, at least one, as fit."""
    stub = list(range(table.stub))
    columns: list[int] = []
    for column in range(table.stub, len(table.heads)):
        if columns and not fits(_columns(table, [*stub, *columns, column])):
            yield _columns(table, stub + columns)
            columns = []
        columns.append(column)
    yield _columns(table, stub + columns)


def _columns(table: Table, columns: list[int]) -> Table:
    rows = tuple(tuple(row[column] for column in columns) for row in table.rows)
    return Table(tuple(table.heads[column] for column in columns), rows, table.stub)


def _width(table: Table) -> int:
    """Returns the width in characters, with a blank on both sides of every column."""
    columns = zip(*(map(_lines, row) for row in table.rows), strict=True)
    widths = [
        max(cell_len(text) for text in (head, *(line for lines in column for line in lines)))
        for head, column in zip(table.heads, columns, strict=True)
    ]
    stub = sum(min(width, _WIDEST_STUB) for width in widths[: table.stub])
    return stub + sum(widths[table.stub :]) + _GAP * len(widths)


def _lines(cell: Cell) -> tuple[str, str]:
    return _one_line(cell.text) + cell.suffix, cell.second_line


def _rich(table: Table) -> RichTable:
    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False, padding=(0, 1))
    for column, head in enumerate(table.heads):
        left = column < table.stub
        shown.add_column(
            Text(head),
            justify="left" if left else "right",
            overflow="fold",
            no_wrap=not left,
            max_width=_WIDEST_STUB if left else None,
        )
    for row in table.rows:
        shown.add_row(*(_rich_cell(cell) for cell in row))
    return shown


def _rich_cell(cell: Cell) -> Text:
    text = Text()
    text.append(_one_line(cell.text), style=_STYLES[cell.highlight])
    text.append(cell.suffix)
    if cell.second_line:
        text.append(f"\n{cell.second_line}", style="dim")
    return text


def _markdown(text: str) -> str:
    return _MARKDOWN_SIGNS.sub(r"\\\1", _one_line(text))


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    text = {"best": f"**{text}**", "second": f"<ins>{text}</ins>", "": text}[cell.highlight]
    return text + cell.suffix + (f"<br>{_markdown(cell.second_line)}" if cell.second_line else "")


def _latex(text: str) -> str:
    return _LATEX_SIGNS.sub(_latex_sign, _one_line(text))


def _latex_sign(found: re.Match[str]) -> str:
    if found["minus"]:
        return "$-$"
    return "-{}" if found["hyphens"] else _LATEX[found[0]]


def _tabular(table: Table) -> str:
    columns = "l" * table.stub + "r" * (len(table.heads) - table.stub)
    lines = [f"\\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(map(_latex, table.heads)), r"\midrule"]
    for row in table.rows:
        lines.append(_latex_row(map(_latex_cell, row)))
        if any(cell.second_line for cell in row):
            small = (f"{{\\scriptsize {_latex(cell.second_line)}}}" if cell.second_line else "" for cell in row)
            lines.append(_latex_row(small))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_row(fields: Iterable[str]) -> str:
    return " & ".join(fields) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = _latex(cell.text)
    text = {"best": f"\\textbf{{{text}}}", "second": f"\\underline{{{text}}}", "": text}[cell.highlight]
    return text + (" " if cell.suffix.startswith(" ") else "") + _latex(cell.suffix)
