"""Report of an audit: tables for the terminal, and a plot per setting."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from refusion.audit.correlation import FEW, Agreement, agreement
from refusion.audit.methods import SOURCES
from refusion.audit.results import REWARD
from refusion.metrics import METRICS
from refusion.reporting.figures import BEST, DEFAULT, INK, OTHERS, axis_label, panels, to_png

_NO_VALUE = "–"
_SCALE = 1000.0


def method_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per method, the lowest loss first: loss, its spread over seeds, and the metrics.

    Args:
        pairs: rows of one setting.
    """
    of_seeds = pairs.groupby(["method", "seed"])[REWARD].mean().groupby("method")
    table = pairs.groupby("method")[list(METRICS)].mean()
    table.insert(0, REWARD, of_seeds.mean())
    table.insert(1, "spread", of_seeds.std())
    return table.sort_values(REWARD)


def agreements(pairs: pd.DataFrame, seed: int = 0) -> dict[str, Agreement]:
    """Returns the reward's rank correlation with every metric."""
    return {metric: agreement(pairs, metric, seed) for metric in METRICS}


def rich_report(title: str, table: pd.DataFrame, found: dict[str, Agreement]) -> Table:
    """Returns the table of one setting: methods, then the rank correlations and their intervals."""
    shown = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    shown.add_column("method", no_wrap=True)
    for column in ("loss ×1000", "± seeds", *METRICS):
        shown.add_column(column, justify="right", no_wrap=True)
    for name, row in table.iterrows():
        shown.add_row(
            str(name),
            *(_number(_SCALE * row[column], 2) for column in (REWARD, "spread")),
            *(_number(row[metric]) if name not in SOURCES else f"({_number(row[metric])})" for metric in METRICS),
        )
    shown.add_section()
    intervals = [found[metric].interval for metric in METRICS]
    for label, end in (("rank correlation", "mean"), ("  from (95 %)", "low"), ("  to", "high")):
        shown.add_row(label, "", "", *(_number(getattr(interval, end), 2) for interval in intervals))
    return shown


def correlation_rows(setting: Mapping[str, object], found: Mapping[str, Agreement]) -> list[dict[str, object]]:
    """Returns a row per metric for the file of correlations: the setting, the correlation, its interval."""
    return [
        {
            **setting,
            "metric": metric,
            "correlation": one.interval.mean,
            "low": one.interval.low,
            "high": one.interval.high,
            "methods": one.methods,
        }
        for metric, one in found.items()
    ]


def overview(rows: pd.DataFrame) -> Table:
    """Returns the rank correlations of all settings, a row each.

    Args:
        rows: as `correlation_rows` makes them, of one task.
    """
    shown = Table(title="rank correlations", box=SIMPLE_HEAD, title_justify="left")
    shown.add_column("reward", no_wrap=True)
    for column in ("noise", "width", "steps", *METRICS):
        shown.add_column(column, justify="right", no_wrap=True)
    for (name, noise, width, steps), part in rows.groupby(
        ["reward_name", "channel_noise", "width", "steps"], sort=False
    ):
        of_metrics = part.set_index("metric")["correlation"]
        shown.add_row(str(name), f"{noise:g}", str(width), str(steps), *(_number(of_metrics[m], 2) for m in METRICS))
    return shown


def notes(table: pd.DataFrame) -> list[str]:
    """Returns the sentences that belong below a table."""
    count = sum(name not in SOURCES for name in table.index)
    said = [
        "rank correlation: Spearman's, of −loss with the metric over the methods that fuse (a and b alone are left "
        "out), with intervals over val pairs, not over methods"
    ]
    if count < FEW:
        said.append(f"only {count} methods: a rank correlation of so few says little; add --baseline or --fused")
    return said


def plot(title: str, table: pd.DataFrame, found: dict[str, Agreement]) -> bytes:
    """Returns the loss against every metric, method by method, as a PNG file."""
    figure, grid = panels(len(METRICS), columns=4, height=3.0, width=15.0)
    figure.suptitle(axis_label(title, limit=120), color=INK)
    for axes, metric in zip(grid, METRICS, strict=True):
        for name, row in table.iterrows():
            if math.isnan(row[metric]):
                continue
            x, y = _SCALE * row[REWARD], row[metric]
            axes.plot([x], [y], "o", color=OTHERS if name in SOURCES else BEST if name == table.index[0] else DEFAULT)
            axes.annotate(axis_label(name), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7, color=INK)
        axes.set_title(f"{metric}: {_number(found[metric].interval.mean, 2)}", fontsize=10, color=INK)
        axes.set_xlabel("loss ×1000", fontsize=8)
    return to_png(figure)


def _number(value: float, digits: int = 3) -> str:
    return _NO_VALUE if math.isnan(value) else f"{value:.{digits}f}"
