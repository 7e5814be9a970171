from __future__ import annotations

import re

import pytest

from refusion.evaluation.formats import as_latex, as_markdown, as_text
from refusion.evaluation.table import Cell, Table

NASTY = r"a_b%c&d#e$f{g}h~i^j\k[l]m*n<o>p|q--r"
TABLE = Table(
    ("method", "SSIM ↑", "CE ↓", "average rank"),
    (
        (Cell(NASTY), Cell("0.7123", "† (1)", "[0.70, 0.72]", "best"), Cell("-0.5", " (2)"), Cell("1.50")),
        (Cell("[x]"), Cell("0.6000", " (2)", "[-0.50, 0.62]", "second"), Cell("–", "‡"), Cell("1.50")),
    ),
)
WIDE = Table(
    ("method", *(f"M{place} ↑" for place in range(12))),
    tuple((Cell(name), *(Cell(f"{place}.5") for place in range(12))) for name in ("one", "two")),
)

# What may stand in our LaTeX, and what a reader sees of it; anything else is an error.
_TOKENS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\ldots{}": "…",
    r"\{": "{",
    r"\}": "}",
    r"\&": "&",
    r"\%": "%",
    r"\$": "$",
    r"\#": "#",
    r"\_": "_",
    "{[}": "[",
    "{*}": "*",
    "-{}": "-",
    "--": "–",
    "$<$": "<",
    "$>$": ">",
    "$|$": "|",
    "$-$": "-",
    r"$\uparrow$": "↑",
    r"$\downarrow$": "↓",
    r"$^\dagger$": "†",
    r"$^\ddagger$": "‡",
    r"$\infty$": "∞",
    r"$\times$": "×",
}
_TOKEN = re.compile("|".join([*(re.escape(token) for token in _TOKENS), r"[A-Za-z0-9 .,;:()/+='\]!?-]"]))
_MARKED = re.compile(r"\\(textbf|underline)\{((?:[^{}\\]|\\.|\{[^{}]*\})*)\}|\{\\scriptsize ((?:[^{}]|\{[^{}]*\})*)\}")


def seen(tex: str) -> str:
    """Returns what LaTeX shows of a field; raises where it would not compile or show something else."""
    text, place = "", 0
    while place < len(tex):
        found = _TOKEN.match(tex, place)
        assert found, f"cannot be set: {tex[place:]!r} in {tex!r}"
        text += _TOKENS.get(found[0], found[0])
        place = found.end()
    return text


def parsed(tex: str) -> tuple[str, list[list[list[str]]]]:
    """Returns the caption, and the fields of every row of every tabular, as a reader sees them."""
    lines = tex.splitlines()
    assert lines[:2] == [r"\begin{table*}", r"\centering"]
    assert lines[-1] == r"\end{table*}"
    caption = lines[2].removeprefix(r"\caption{").removesuffix("}")
    assert re.fullmatch(r"\\label\{[a-z:]+\}", lines[3])
    tabulars = []
    for body in "\n".join(lines[4:-1]).split("\n\n\\medskip\n"):
        begin, top, head, middle, *rows, bottom, end = body.split("\n")
        columns = re.fullmatch(r"\\begin\{tabular\}\{(l+r+)\}", begin)
        assert columns
        assert [top, middle, bottom, end] == [r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"]
        fields = []
        for row in (head, *rows):
            assert row.endswith(r" \\")
            parts = re.split(r"(?<!\\)&", row.removesuffix(r" \\"))
            assert len(parts) == len(columns[1])
            # After a line's end, these would be read as its options.
            assert not row.lstrip().startswith(("[", "*"))
            fields.append([seen(_MARKED.sub(lambda found: found[2] or found[3], part)).strip() for part in parts])
        tabulars.append(fields)
    return seen(caption), tabulars


def test_latex_shows_exactly_the_table() -> None:
    caption, (rows,) = parsed(
        as_latex(TABLE, f"Scores of {NASTY}: 95 %", ["↑ is × better…", "-0.5 ≠".replace("≠", "–")], "tab:x")
    )
    assert caption == f"Scores of {NASTY}: 95 %. ↑ is × better… -0.5 –"
    assert rows == [
        ["method", "SSIM ↑", "CE ↓", "average rank"],
        [NASTY, "0.7123† (1)", "-0.5 (2)", "1.50"],
        ["", "[0.70, 0.72]", "", ""],
        ["[x]", "0.6000 (2)", "–‡", "1.50"],
        ["", "[-0.50, 0.62]", "", ""],
    ]


def test_latex_sets_the_best_bold_and_the_second_underlined() -> None:
    tex = as_latex(TABLE, "c", [], "tab:x")
    assert r"\textbf{0.7123}$^\dagger$ (1)" in tex
    assert r"\underline{0.6000} (2)" in tex


def test_the_check_of_latex_finds_what_does_not_compile() -> None:
    for wrong in ("a_b", "50%", "x & y", "{", "α", r"\textbf{x"):
        with pytest.raises(AssertionError):
            seen(wrong)


def test_many_columns_come_in_several_tabulars_each_with_the_methods() -> None:
    _, tabulars = parsed(as_latex(WIDE, "c", [], "tab:x"))
    assert [len(rows[0]) for rows in tabulars] == [7, 7]
    assert [row[0] for rows in tabulars for row in rows] == ["method", "one", "two"] * 2
    assert [head for rows in tabulars for head in rows[0][1:]] == list(WIDE.heads[1:])


def markdown_fields(line: str) -> list[str]:
    fields = re.split(r"(?<!\\)\|", line)
    assert fields[0] == fields[-1] == ""
    return [re.sub(r"\\(.)", r"\1", field.strip()) for field in fields[1:-1]]


def test_markdown_is_a_table_of_github() -> None:
    title, table, notes = as_markdown(TABLE, "a*b", ["one_two", "three"]).rstrip("\n").split("\n\n")
    assert title == r"**a\*b**"
    assert notes == "- one\\_two\n- three"
    head, rule, *rows = table.splitlines()
    assert markdown_fields(head) == list(TABLE.heads)
    assert all(re.fullmatch(r":?-+:?", field) for field in markdown_fields(rule))
    assert [markdown_fields(row) for row in rows] == [
        [NASTY, "**0.7123**† (1)<br>[0.70, 0.72]", "-0.5 (2)", "1.50"],
        ["[x]", "<ins>0.6000</ins> (2)<br>[-0.50, 0.62]", "–‡", "1.50"],
    ]
    assert r"a\_b%c\&d\#e\$f\{g\}" in rows[0]


def test_text_is_plain_and_holds_every_field() -> None:
    lines = as_text(TABLE, "[bold]caption", ["a note"], width=100).splitlines()
    assert lines[0] == "[bold]caption"
    assert lines[-1] == "a note"
    assert [line.split() for line in lines if line.startswith(("a_b", "[x]"))] == [
        [NASTY, "0.7123†", "(1)", "-0.5", "(2)", "1.50"],
        ["[x]", "0.6000", "(2)", "–‡", "1.50"],
    ]
    assert any(line.strip() == "[-0.50, 0.62]" for line in lines)
    assert not any("\x1b" in line or line.endswith(" ") for line in lines)


def test_styled_text_has_the_best_bold_and_the_second_underlined() -> None:
    text = as_text(TABLE, "c", [], width=100, styled=True)
    assert "\x1b[1m0.7123\x1b[0m†" in text
    assert "\x1b[4m0.6000\x1b[0m" in text


@pytest.mark.parametrize(("width", "blocks"), [(120, 1), (50, 2), (30, 4), (5, 12)])
def test_text_puts_below_what_does_not_fit_beside(width: int, blocks: int) -> None:
    lines = as_text(WIDE, "c", [], width=width).splitlines()
    heads = [line.split() for line in lines if "↑" in line]
    assert len(heads) == blocks
    assert max(map(len, lines)) <= max(width, 13)
    assert [word for head in heads for word in head if word.startswith("M")] == [f"M{place}" for place in range(12)]


def test_a_long_name_is_broken_and_loses_nothing() -> None:
    name = "".join(f"_{place:02d}" for place in range(30))
    lines = as_text(Table(("method", "Q ↑"), ((Cell(name), Cell("0.5")),)), "c", [], width=60).splitlines()
    rows = lines[lines.index(next(line for line in lines if line.startswith("──"))) + 1 :]
    assert "".join(row.split()[0] for row in rows if row) == name
    assert max(map(len, lines)) <= 60


def test_line_ends_in_names_do_not_break_a_table() -> None:
    table = Table(("method", "Q ↑"), ((Cell("two\nlines"), Cell("1")),))
    assert "two lines" in as_text(table, "c", [], width=60)
    assert "two lines |" in as_markdown(table, "c", [])
    assert r"two lines & 1 \\" in as_latex(table, "c", [], "tab:x")
