"""Files of a comparison: the page, tables for a paper and for a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from refusion.evaluation.formats import as_latex, as_markdown
from refusion.evaluation.table import Table
from refusion.reporting.comparison.gallery import gallery_of
from refusion.reporting.comparison.groups import Compared, Group
from refusion.reporting.comparison.measures import LEVEL, scores_of, standings_of
from refusion.reporting.comparison.page import comparison_page
from refusion.reporting.comparison.tables import difference_cells, differing_cells, score_cells, standing_cells
from refusion.reporting.comparison.words import finding, test_note

PAGE = "report.html"
MARKDOWN, LATEX, SCORES, STANDINGS = "comparison.md", "comparison.tex", "scores.csv", "standings.csv"


def comparison_files(title: str, compared: Compared, foot: str) -> dict[str, str]:
    """Returns the text of every file by its name.

    ``report.html`` is the page, ``comparison.md`` and ``comparison.tex`` the tables, ``scores.csv`` a row per task, run
    and metric, ``standings.csv`` a row per task and run.

    Args:
        title: of the page.
        compared: the groups.
        foot: last line of the page.
    """
    scores, standings = [], []
    for group in compared.groups:
        facts: dict[str, Any] = {"digest": group.digest, "pairs": group.pictures, "baseline": group.baseline}
        scores.append(scores_of(group).assign(**facts))
        standings.append(standings_of(group).rename_axis("run").reset_index().assign(task=group.task, **facts))
    parts = [part for group in compared.groups for part in _tables(group)]
    notes = [f"- {note}" for note in compared.notes]
    findings = [finding(group, table) for group, table in zip(compared.groups, scores, strict=True)]
    markdown = [as_markdown(table, caption, lines) for table, caption, lines, _ in parts]
    return {
        PAGE: page_of(title, compared, foot),
        MARKDOWN: "\n\n".join([f"# {title}", *findings, *markdown, *(["\n".join(notes)] if notes else [])]) + "\n",
        LATEX: "\n".join(as_latex(table, caption, lines, label) for table, caption, lines, label in parts),
        SCORES: _csv(scores),
        STANDINGS: _csv(standings),
    }


def page_of(title: str, compared: Compared, foot: str, mine: str | None = None) -> str:
    """Returns the page with its pictures, which are read from the store; arguments as ``comparison_page``."""
    pictures = {place: gallery_of(group) for place, group in enumerate(compared.groups)}
    return comparison_page(title, compared, pictures, foot, mine)


def _tables(group: Group) -> list[tuple[Table, str, list[str], str]]:
    """Returns each table with its caption, its notes and its label in LaTeX."""
    scores = scores_of(group)
    differing = differing_cells(scores)
    label = f"{group.task.lower()}-{group.digest[:8]}"
    about = f"{group.title}, convention {group.convention}"
    dagger = [f"† differs from {group.baseline}, corrected p below {LEVEL}."] if differing else []
    ranks = "↑ higher is better; in parentheses the rank, ties averaged. Best bold, second-best underlined."
    found = [
        (score_cells(group.methods, differing), f"Scores, {about}", [ranks, *dagger, test_note(group)], f"tab:{label}")
    ]
    if group.others:
        signs = f"Bold: better than {group.baseline}, corrected p below {LEVEL}; underlined: worse."
        table = difference_cells(group, scores)
        caption = f"Differences from {group.baseline}, {about}"
        found.append((table, caption, [signs, test_note(group)], f"tab:{label}-differences"))
    costs = [
        "On the front: no other is at least as good in each of the four metrics and better in one.",
        "A pair is counted each time that a crop of it is fed.",
    ]
    found.append((standing_cells(standings_of(group)), f"Ranks and costs, {about}", costs, f"tab:{label}-costs"))
    return found


def _csv(tables: Sequence[pd.DataFrame]) -> str:
    joined = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    first = [name for name in ("task", "digest", "pairs", "baseline", "run") if name in joined]
    joined = joined[[*first, *(name for name in joined if name not in first)]]
    return joined.to_csv(index=False, na_rep="nan", lineterminator="\n")
