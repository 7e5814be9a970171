"""The record of an evaluation in MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from refusion.config.settings import BUILTIN
from refusion.evaluation.methods import Method
from refusion.evaluation.request import Request
from refusion.evaluation.results import REFERENCE, MethodScores
from refusion.images.dataset import data_folder
from refusion.images.pairs import Pair, dataset_digest
from refusion.metrics.listing import metric_tags
from refusion.statistics import mean_interval
from refusion.tracking.evaluations import Evaluation, record_evaluation


def record(
    request: Request,
    store: tuple[str, str],
    task: str,
    methods: Sequence[Method],
    results: Sequence[MethodScores],
    pairs: Sequence[Pair],
    files: Mapping[str, str],
) -> list[str]:
    """Writes one MLflow run per method.

    Args:
        request: the options.
        store: address and experiment id.
        task: the fusion task.
        methods, results: of equal length.
        pairs: the sources.
        files: text by the artifact's name; the same for all runs.

    Returns:
        One line for each run that could not be written as a whole.
    """
    uri, experiment_id = store
    how = {
        "task": task,
        "convention": request.convention,
        "split": request.split,
        "align": request.align or "none",
        "seed": request.seed,
        "precision": request.precision,
    }
    failures = []
    for method, result in zip(methods, results, strict=True):
        own = {"metrics": list(result.frame.columns), "kind": method.kind, "value": method.value}
        if method.adapted:
            own |= {name: getattr(request, name) for name in ("adapt", "adapt_rate", "adapt_each")}
        evaluation = Evaluation(
            task,
            method.name,
            request.convention,
            how | own,
            summary(result, request.seed),
            files,
            dataset_digest(pairs),
            _source(request),
            len(pairs),
            request.split,
            metric_tags([name.removeprefix(REFERENCE) for name in result.frame.columns], request.convention),
        )
        failures.append(record_evaluation(uri, experiment_id, evaluation))
    return [failure for failure in failures if failure]


def _source(request: Request) -> str:
    if request.data is None:
        return f"{request.a} and {request.b}"
    return request.data if request.data == BUILTIN else str(data_folder(request.data))


def summary(result: MethodScores, seed: int) -> dict[str, float]:
    """Returns the means, and as NAME_low and NAME_high the ends of their intervals, where there are any."""
    found: dict[str, float] = {}
    for name in result.frame.columns:
        interval = mean_interval(result.frame[name].to_numpy(), seed=seed)
        found[name] = interval.mean
        if not math.isnan(interval.low):
            found |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return found
