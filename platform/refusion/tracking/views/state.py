"""State of MLflow's page for each prepared view; plain data, no client.

The page reads it from the experiment's tag ``mlflow.sharedViewState.NAME``. Its form is MLflow's own and not
documented: what stands here was read from the page of MLflow 3.17 and tried in a browser. What a later version does
not know it leaves out, and the page still opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refusion.tasks import TASKS
from refusion.tracking.epochs import BASELINE, REFERENCES

TAG = "mlflow.sharedViewState."
# Those that noise does not raise go first; EN because people ask for it.
_SCORES = ("Qabf", "SSIM", "VIF", "SCD", "EN")
# Two per task are as many columns as a window shows.
_SUMMARY = ("Qabf", "SSIM")
# Sections of charts in their order, those of the second row closed: MLflow sorts pictures and metrics into them by
# what stands before the slash of their names.
_BETTER = "best Qabf, job by job"
# Columns of tiles and their height in pixels. Pictures have the whole width, so that runs stand side by side.
_OPEN = {_BETTER: (4, 220), "fused": (1, 350), "sheet": (1, 600), "scores": (3, 300)}
_CLOSED = ("weights", "loss", "signal", "time", "baseline", "best", "within", "validation", "registered")
_WITHOUT_SLASH, _SYSTEM = "Model metrics", "System metrics"

_PAGE: Mapping[str, Any] = {
    # Any key but the page's own "Created" lists tasks and trials in rows of their own, not folded below their parents.
    "orderByKey": "attributes.end_time",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "runsPinned": [],
    "runsHidden": [],
    "runsHiddenMode": "FIRST_10_RUNS",
    "runsExpanded": {},
    "groupBy": None,
    "hideEmptyCharts": True,
    "autoRefreshEnabled": True,
}


def view_states(varied: Sequence[str] = (), pictures: Mapping[str, int] | None = None) -> dict[str, dict[str, Any]]:
    """Returns the state of each view by its name.

    *tasks*: a row per task of a job, newest first, with its scores; *jobs*: a row per job with the scores of all its
    tasks; *sweep*: a row per trial, best first; *pictures*: of the newest jobs which is better on which task as bars,
    fused pictures and sheets under a slider, and scores as curves beside the baseline's.

    Args:
        varied: names of params that trials of the newest sweep differ in.
        pictures: keys of fused pictures and sheets, and the epoch at which each is shown first. Others are shown too,
            from epoch 0 on and below their runs' params.
    """
    metrics = [_metric(name) for name in _SCORES]
    summary = [_metric(f"{task}/{name}") for name in _SUMMARY for task in TASKS]
    best = [_metric("best/epoch"), _metric("best/Qabf")]
    return {
        "tasks": _view("tags.`kind` = 'task'", [_tag("task"), *metrics, *best]),
        "jobs": _view("tags.`kind` = 'train'", summary),
        "sweep": _view(
            "tags.`trial` != ''",
            [_metric("score"), *metrics[:2], *(f"params.`{name}`" for name in varied), _tag("ended")],
            orderByKey=_metric("score"),
        ),
        "pictures": _view(
            # Jobs and their tasks.
            "tags.`kind` LIKE 't%'",
            [_tag("task"), *metrics],
            runsHiddenMode="FIRST_20_RUNS",
            compareRunCharts=[
                *(_bar(f"{task}/Qabf") for task in TASKS),
                *(_picture(key, epoch) for key, epoch in (pictures or {}).items()),
                *(_curve(name) for name in _SCORES),
            ],
            compareRunSections=[
                *(_section(name, columns=columns, height=height) for name, (columns, height) in _OPEN.items()),
                *(_section(name, display=False) for name in (*_CLOSED, _WITHOUT_SLASH, _SYSTEM)),
            ],
            isAccordionReordered=True,
        ),
    }


def _view(search: str, columns: Sequence[str], **more: Any) -> dict[str, Any]:
    return {**_PAGE, "searchFilter": search, "selectedColumns": list(columns), **more}


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _tag(name: str) -> str:
    return f"tags.`{name}`"


def _section(name: str, *, display: bool = True, columns: int = 3, height: int = 360) -> dict[str, Any]:
    return {
        "columns": columns,
        "cardHeight": height,
        "uuid": f"section-{name}",
        "name": name,
        "display": display,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


def _chart(kind: str, name: str, section: str, **more: Any) -> dict[str, Any]:
    return {
        "uuid": f"chart-{name}",
        "type": kind,
        "runsCountToCompare": 10,
        "metricSectionId": f"section-{section}",
        "deleted": False,
        "isGenerated": False,
        **more,
    }


def _picture(key: str, epoch: int) -> dict[str, Any]:
    """Tile of a picture, of every run that has one of that key, without the runs' params."""
    section, _, name = key.partition("/")
    return _chart("IMAGE", key, section, displayName=name, imageKeys=[key], step=epoch, showRunParams=False)


def _bar(metric: str) -> dict[str, Any]:
    """Bars of a job's metric ``TASK/NAME``, a bar per job."""
    return _chart("BAR", metric, _BETTER, displayName=metric.partition("/")[0], metricKey=metric)


def _curve(metric: str) -> dict[str, Any]:
    """Line of a metric over the epochs, with the average's beside it, where it is recorded, dashed by the page."""
    reference = metric in REFERENCES
    return _chart(
        "LINE",
        metric,
        "scores",
        displayName=f"{metric} (dashed: average)" if reference else metric,
        metricKey=metric,
        selectedMetricKeys=[metric, f"{BASELINE}{metric}"] if reference else [metric],
        lineSmoothness=0,
        xAxisScaleType="linear",
        scaleType="linear",
        range={},
        xAxisKey="step",
        selectedXAxisMetricKey="",
        yAxisKey="metric",
        yAxisExpressions=[],
        ignoreOutliers=False,
        useGlobalXaxisKey=True,
        useGlobalLineSmoothing=True,
    )
