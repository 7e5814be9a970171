"""Table of an audit of rewards: which method each reward prefers, and if it agrees with quality metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from refusion.audit.correlation import agreement
from refusion.audit.methods import SOURCES
from refusion.audit.results import KEY, REWARD
from refusion.evaluation.formats import as_markdown
from refusion.evaluation.ranking import QUALITY
from refusion.evaluation.table import Cell, Table, number_text
from refusion.results.scores import read_table
from refusion.statistics import Interval

WANTED = 0.8
"""Rank correlation with Qabf that a reward is to have."""

# What a row of the table is of; the numbers of crops and pairs stand in the command.
_ROW = ["task", "reward_name", "channel_noise", "width", "steps", "batch", "crop", "from_fused"]


def read_audits(files: Sequence[Path]) -> pd.DataFrame:
    """Reads and joins the files of analysis/reward_audit.py that have a row per fit and pair.

    Raises:
        UserError: a file is none of them.
    """
    columns = [*KEY, "pair", REWARD, *QUALITY]
    parts = [read_table(file, columns, [REWARD, *QUALITY]) for file in files]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True).drop_duplicates([*KEY, "pair"], keep="last")


def audit_table(rows: pd.DataFrame) -> str:
    """Returns in Markdown a row per task and setting of the audit, with rank correlations and their intervals.

    Args:
        rows: a row per fit and pair.
    """
    body = []
    for setting, part in rows.groupby(_ROW, sort=False):
        task, reward, noise, width, steps, *_ = setting
        losses = part[~part["method"].isin(SOURCES)].groupby("method")[REWARD].mean()
        found = {metric: agreement(part, metric) for metric in QUALITY}
        qabf = found["Qabf"].interval.mean
        outcome = "–" if math.isnan(qabf) else "met" if qabf >= WANTED else f"missed by {WANTED - qabf:.2f}"
        texts = (task, reward, f"{noise:g}", width, steps, part["seed"].nunique(), len(losses), losses.idxmin())
        cells = [Cell(str(text)) for text in texts]
        cells += [
            Cell(number_text(found[metric].interval.mean, 2), second_line=_ends(found[metric].interval))
            for metric in QUALITY
        ]
        body.append((*cells, Cell(outcome, highlight="best" if outcome == "met" else "")))
    heads = ("task", "reward", "noise", "R's width", "steps", "seeds", "methods", "prefers", *QUALITY)
    notes = [
        "Prefers: the method of the lowest loss. Methods: those that fuse, whose ranks are compared; a source alone is "
        "none.",
        "Under each metric: Spearman's rank correlation of the negative loss, mean over pairs and seeds, with the "
        "metric's mean; […]: 95 % interval, bootstrap over the pairs.",
    ]
    return as_markdown(
        Table((*heads, f"Qabf at least {WANTED}"), tuple(body), stub=2), "Rewards against metrics", notes
    )


def _ends(interval: Interval) -> str:
    if math.isnan(interval.low):
        return ""
    return f"[{number_text(interval.low, 2)}, {number_text(interval.high, 2)}]"
