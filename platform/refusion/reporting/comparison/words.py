"""Sentences of a comparison."""

from __future__ import annotations

import math

import pandas as pd

from refusion.evaluation.ranking import QUALITY
from refusion.metrics import METRICS
from refusion.reporting.comparison.groups import Group
from refusion.reporting.comparison.measures import LEVEL, standings_of
from refusion.statistics import fewest_pictures

HEADLINE = "Qabf"


def p_text(p: float) -> str:
    """Returns a p value for a text; a dash for NaN.

    >>> p_text(0.0002), p_text(0.25)
    ('below 0.001', '0.250')
    """
    return "–" if math.isnan(p) else "below 0.001" if p < 0.001 else f"{p:.3f}"


def count_text(value: float) -> str:
    """Returns a large number, short; a dash for NaN.

    >>> count_text(1234567), count_text(12.3), count_text(math.nan)
    ('1,234,567', '12', '–')
    """
    return "–" if math.isnan(value) else f"{value:,.0f}"


def difference_text(row: pd.Series) -> str:
    """Returns a difference with its interval and corrected p value, from a row of ``scores_of``."""
    if math.isnan(row["difference"]):
        return "–"
    interval = ""
    if not math.isnan(row["difference_low"]):
        interval = f" [{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]"
    return f"{row['difference']:+.4f}{interval}, p {p_text(row['p_holm'])}"


def finding(group: Group, scores: pd.DataFrame) -> str:
    """Returns the result of a group in a sentence: the best run, and what it is worth against the baseline."""
    table = standings_of(group)
    ranks = table["rank_quality"].dropna()
    if ranks.empty:
        return f"{group.title}: no method has all of {', '.join(QUALITY)}."
    # Of equally good ones not the baseline, of which there is nothing to say.
    best = str(ranks.sort_index(key=lambda names: names == group.baseline, kind="stable").idxmin())
    of = f"mean rank {ranks[best]:.2f} of {len(ranks)} over {', '.join(QUALITY)}"
    tied = [str(name) for name in ranks.index if ranks[name] == ranks[best]]
    text = f"{group.title}: {' and '.join(tied)} {'is' if len(tied) == 1 else 'are equally'} the best ({of})"
    if best == group.baseline:
        return f"{text}; it is the baseline itself."
    row = scores[(scores["run"] == best) & (scores["metric"] == HEADLINE)].iloc[0]
    sure = scores[(scores["run"] == best) & (scores["p_holm"] < LEVEL)]
    better, worse = (list(sure[sure["better"] == side]["metric"]) for side in (True, False))
    shown = [f"surely {how} in {', '.join(names)}" for how, names in (("better", better), ("worse", worse)) if names]
    least = fewest_pictures(len(group.others) * len(METRICS))
    few = f", as {group.pictures} pairs are too few for that: it takes {least}" if group.pictures < least else ""
    said = "; ".join(shown) or f"no difference is sure{few}"
    whose = "" if len(tied) == 1 else f" of {best}"
    against = f"Against {group.baseline}: {HEADLINE}{whose} {difference_text(row)}"
    return f"{text}. {against}; {said} (corrected p below {LEVEL})."


def test_note(group: Group) -> str:
    """Returns a sentence on the tests, and one more where there are too few pictures for any."""
    tests = len(group.others) * len(METRICS)
    text = (
        f"p: Wilcoxon signed-rank test over the pairs, two-sided, Holm-corrected for the {tests} tests of this task "
        f"against {group.baseline}. Intervals: 95 %, percentile bootstrap over the pairs."
    )
    least = fewest_pictures(tests)
    if group.pictures < least:
        text += f" With {group.pictures} pairs no test can be sure: that takes at least {least}."
    return text
