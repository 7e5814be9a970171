"""Numbers of a comparison: means, ranks, differences with intervals and tests, fronts, costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from refusion.evaluation.ranking import QUALITY, mean_ranks, means_of
from refusion.evaluation.table import is_higher_better
from refusion.metrics import METRICS
from refusion.reporting.comparison.groups import Group
from refusion.search.objective.ranking import fronts
from refusion.statistics import mean_interval, paired_differences, paired_tests, rank_table
from refusion.tracking.comparison.runs import RecordedRun

LEVEL = 0.05
HIGHER = is_higher_better(METRICS)


def scores_of(group: Group) -> pd.DataFrame:
    """Returns a row per method and metric.

    Columns: ``task``, ``run``, ``metric``, ``mean`` with its 95 % interval ``low`` and ``high`` (bootstrap over the
    pictures), ``undefined`` (number of pictures without that score), ``rank`` (1 = best of the group), and of the
    method − the baseline on the same pictures ``difference``, ``difference_low``, ``difference_high``, ``p`` (signed
    ranks), ``p_holm`` (corrected for all tests of the group), ``better``; these are NaN for the baseline.
    """
    ranks = rank_table(means_of(group.methods), HIGHER)
    rows = []
    for method in group.methods:
        for metric in METRICS:
            found = mean_interval(method.frame[metric].to_numpy())
            numbers = (found.mean, found.low, found.high, found.undefined, ranks.loc[method.name, metric])
            rows.append((group.task, method.name, metric, *numbers, *_difference(group, method.name, metric)))
    names = ["mean", "low", "high", "undefined", "rank", "difference", "difference_low", "difference_high"]
    table = pd.DataFrame(rows, columns=["task", "run", "metric", *names])
    tests = paired_tests(
        group.scores(group.baseline), {name: group.scores(name) for name in group.others}, HIGHER
    ).rename(columns={"method": "run"})
    return table.merge(tests[["run", "metric", "p", "p_holm", "better"]], on=["run", "metric"], how="left")


def _difference(group: Group, name: str, metric: str) -> tuple[float, float, float]:
    if name == group.baseline:
        return (math.nan,) * 3
    differences = paired_differences(group.scores(group.baseline)[metric], group.scores(name)[metric])
    found = mean_interval(differences)
    return found.mean, found.low, found.high


def standings_of(group: Group) -> pd.DataFrame:
    """Returns a row per method, by name.

    Columns: ``rank_all`` and ``rank_quality`` (mean ranks over the eight metrics and over SCD, VIF, Qabf, SSIM),
    ``front`` (True where no method of the group is at least as good in those four and better in one), and of a trained
    run ``epoch`` (its best), ``epochs`` (trained), ``pairs_seen``, ``cpu_seconds``, ``gpu_seconds``, ``seconds``
    (training and validation): NaN where a run has no record of them.
    """
    means = means_of(group.methods)
    quality = means[list(QUALITY)].to_numpy(np.float64)
    table = pd.DataFrame(index=means.index)
    table["rank_all"] = mean_ranks(means, METRICS)
    table["rank_quality"] = mean_ranks(means, QUALITY)
    table["front"] = (fronts(quality) == 0) & ~np.isnan(quality).any(axis=1)
    costs = {name: costs_of(run) for name, run in group.runs.items()}
    names = ["epoch", "epochs", "pairs_seen", "cpu_seconds", "gpu_seconds", "seconds"]
    return table.join(pd.DataFrame.from_dict(costs, orient="index", columns=names).astype(np.float64))


def costs_of(run: RecordedRun) -> list[float]:
    """Returns the best epoch, the number of trained ones, and the sums over them that ``standings_of`` lists."""
    trained = run.history[run.history["epoch"] > 0]
    sums = [_sum(trained, [name]) for name in ("pairs_seen", "time/cpu_seconds", "time/gpu_seconds")]
    seconds = _sum(trained, ["time/training_seconds", "time/validation_seconds"])
    epochs = float(trained["epoch"].max()) if len(trained) else math.nan
    return [math.nan if run.epoch is None or not run.trained else float(run.epoch), epochs, *sums, seconds]


def _sum(history: pd.DataFrame, names: Sequence[str]) -> float:
    known = [name for name in names if name in history]
    return float(history[known].sum().sum()) if known and len(history) else math.nan


def leader(group: Group) -> str | None:
    """Returns the trained or evaluated run of the best mean rank over the four metrics; None where none has one."""
    ranks = standings_of(group)["rank_quality"].drop(index=group.baseline, errors="ignore").dropna()
    ranks = ranks[[name for name in ranks.index if name in group.runs]]
    return None if ranks.empty else str(ranks.idxmin())
