"""Page of a comparison as one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from refusion.evaluation.ranking import QUALITY
from refusion.evaluation.table import Table
from refusion.reporting.comparison.charts import cost_chart, differences_chart, learning_curves
from refusion.reporting.comparison.gallery import Shown
from refusion.reporting.comparison.gallery_html import GALLERY_SCRIPT, GALLERY_STYLE, gallery_html
from refusion.reporting.comparison.groups import Compared, Group
from refusion.reporting.comparison.measures import LEVEL, leader, scores_of, standings_of
from refusion.reporting.comparison.tables import difference_cells, differing_cells, score_cells, standing_cells
from refusion.reporting.comparison.words import HEADLINE, count_text, difference_text, finding, test_note
from refusion.reporting.page import Rows, Section, figure_section, render
from refusion.tracking.comparison.scores import AVERAGE

_FRONT = f"On the front: no other is at least as good in each of {', '.join(QUALITY)} and better in one."


def comparison_page(
    title: str,
    compared: Compared,
    pictures: Mapping[int, Sequence[Shown]],
    foot: str,
    mine: str | None = None,
) -> str:
    """Returns the page as HTML.

    Args:
        title: of the page.
        compared: the groups.
        pictures: by the group's place.
        foot: last line.
        mine: name of the run that the page is about, which is marked.
    """
    scores = [scores_of(group) for group in compared.groups]
    lead = [finding(group, table) for group, table in zip(compared.groups, scores, strict=True)]
    sections = [_overview(compared.groups, scores, mine)] if compared.groups else []
    if compared.notes:
        sections.append(Section("What could not be compared", compared.notes))
    for place, (group, table) in enumerate(zip(compared.groups, scores, strict=True)):
        apart = sum(other.task == group.task for other in compared.groups) > 1
        sections += _sections(group, table, pictures.get(place, ()), mine, apart=apart)
    lead = lead or ["No run of this experiment has scores per picture yet."]
    return render(title, lead, sections, foot, style=_STYLE + GALLERY_STYLE, script=GALLERY_SCRIPT)


_STYLE = Markup("""
  body { max-width: 84rem; }
  p, figcaption { max-width: 72rem; }
  th { white-space: normal; vertical-align: bottom; }
  .lead p { padding: .5rem .9rem; margin: .5rem 0; border-left: 4px solid #c2410c; background: #fff7ed; }
""")


def _overview(groups: Sequence[Group], scores: Sequence[pd.DataFrame], mine: str | None) -> Section:
    head = ["task", "pairs", "method", "mean rank", "of eight", *QUALITY, f"{HEADLINE} less baseline", "pairs seen"]
    head += ["CPU-seconds"]
    rows: list[list[str]] = []
    marked: dict[int, str] = {}
    for group, table in zip(groups, scores, strict=True):
        standings = standings_of(group)
        # The baseline may be the best run itself.
        best = standings.loc[[name for name in standings.index if name in group.runs], "rank_quality"].min()
        means = table.pivot(index="run", columns="metric", values="mean")
        headline = table[table["metric"] == HEADLINE].set_index("run")
        for name in standings.sort_values("rank_quality", kind="stable").index:
            row = standings.loc[name]
            if name in group.runs and row["rank_quality"] == best:
                marked[len(rows)] = "best"
            elif name == mine:
                marked[len(rows)] = "default"
            rows.append([
                group.task,
                str(group.pictures),
                str(name),
                _number(row["rank_quality"], 2),
                _number(row["rank_all"], 2),
                *(_number(means.loc[name, metric], 4) for metric in QUALITY),
                "baseline" if name == group.baseline else difference_text(headline.loc[name]).replace(" [", "\n["),
                count_text(row["pairs_seen"]),
                count_text(row["cpu_seconds"]),
            ])  # fmt: skip
    text = (
        f"Orange: the best run of its task by the mean rank over {', '.join(QUALITY)}, which noise does not raise; "
        "beside it that over all eight metrics."
    )
    blue = f" Blue: {mine}, which this page is about." if mine and "default" in marked.values() else ""
    return Section("Which run is better", [text + blue], Rows(head, rows, marked))


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _sections(
    group: Group, scores: pd.DataFrame, shown: Sequence[Shown], mine: str | None, *, apart: bool
) -> list[Section]:
    standings = standings_of(group)
    label = group.title if apart else group.task
    pictures = "Fused pictures of each run's best epoch. They are shrunk to 800 pixels for this page; insets are exact."
    block = gallery_html(shown, *_first_two(group, standings, mine))
    none = "Left out: no fused picture of these runs is recorded (validation.pictures)."
    table = score_cells(group.methods, differing_cells(scores))
    notes = [
        "↑ higher is better; in parentheses the rank, ties averaged. Below each mean its 95 % interval (bootstrap).",
        *([f"† differs from {group.baseline}, corrected p below {LEVEL}."] if differing_cells(scores) else []),
    ]
    found = [
        Section(f"{group.title}: pictures", [pictures if shown else none], block=block),
        Section(f"{label}: scores", notes, _rows(table)),
    ]
    if group.others:
        found.append(
            Section(f"{label}: difference from {group.baseline}", [test_note(group)],
                    _rows(difference_cells(group, scores)))
        )  # fmt: skip
    caption = (
        f"Mean difference from {group.baseline} on the same pairs with its 95 % interval; filled where the corrected p "
        f"is below {LEVEL}."
    )
    found += [
        figure_section(f"{label}: differences at a glance", caption, lambda: differences_chart(group, scores)),
        figure_section(
            f"{label}: learning curves",
            "Validation scores over the epochs; a ring is the epoch that is compared.",
            lambda: learning_curves(group),
        ),
        Section(f"{label}: quality and cost", [_FRONT, _COSTS], _rows(standing_cells(standings))),
        figure_section(
            f"{label}: quality against cost",
            "Upper left is better and cheaper; the line joins the runs that no other undercuts in both.",
            lambda: cost_chart(group, standings),
        ),
    ]
    return found


_COSTS = (
    "Costs are those of all epochs of a run: a pair is counted each time that a crop of it is fed, CPU-seconds are of "
    "all workers' threads, GPU-seconds of all GPUs held. A dash: not recorded, as by an earlier version."
)


def _first_two(group: Group, standings: pd.DataFrame, mine: str | None) -> tuple[str, str]:
    """Returns which two pictures are seen first: the best other method's, and the run's or the best run's."""
    right = mine if mine in group.runs else leader(group) or AVERAGE
    order = [str(name) for name in standings.sort_values("rank_quality", kind="stable").index if name != right]
    return (order[0] if order else AVERAGE), right


def _rows(table: Table) -> Rows:
    texts = [[_text(cell.text + cell.suffix, cell.second_line) for cell in row] for row in table.rows]
    best = {
        (row, column)
        for row, cells in enumerate(table.rows)
        for column, cell in enumerate(cells)
        if cell.highlight == "best"
    }
    return Rows(table.heads, texts, strong=best)


def _text(first: str, second: str) -> str:
    return f"{first}\n{second}" if second else first
