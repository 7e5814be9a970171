"""Scores of the fused picture and of the baselines, as a table for the page."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from refusion.images.colour import saved_luminance
from refusion.metrics import CATALOGUE, METRICS, evaluate
from refusion.metrics.listing import describe
from refusion.metrics.lookup import find_definitions

Scores = dict[str, dict[str, float]]


def is_slow(metric: str) -> bool:
    """Returns True for the metrics that take seconds where the others take a tenth of one, the family FMI."""
    return metric.startswith("FMI")


def fitting_metrics(height: int, width: int, *, slow: bool = True) -> list[str]:
    """Returns the names of the metrics that take pictures of this size, those of validation first.

    >>> fitting_metrics(5, 5, slow=False)[:3]
    ['EN', 'SD', 'SF']
    """
    fitting = [
        name
        for name, found in find_definitions("all").items()
        if found.smallest_side <= min(height, width) and (slow or not is_slow(name))
    ]
    return sorted(fitting, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS))


def score(picture: npt.NDArray[np.uint8], sources: npt.NDArray[np.float32], metrics: list[str]) -> dict[str, float]:
    """Scores a picture as it is saved against its sources' luminance.

    Args:
        picture: (H, W) or (H, W, 3).
        sources: (2, H, W) in [0, 1].
        metrics: names.
    """
    a, b = (torch.from_numpy(source) * 255.0 for source in sources)
    found = evaluate(torch.from_numpy(saved_luminance(picture)), a, b, metrics)
    return {name: float(value[0]) for name, value in found.items()}


def as_html(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the table: a row for each metric, a column for each picture, the best of each row bold.

    Args:
        scores: by picture and metric; a picture may lack some.

    >>> "<b>7.0000</b>" in as_html({"fused": {"EN": 7.0}, "max": {"EN": 6.5}})
    True
    """
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in scores)
    metrics = dict.fromkeys(metric for of_picture in scores.values() for metric in of_picture)
    rows = "".join(_row(metric, [of_picture.get(metric) for of_picture in scores.values()]) for metric in metrics)
    return f'<table class="scores"><thead><tr><th>metric</th>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _row(metric: str, values: list[float | None]) -> str:
    higher = CATALOGUE[metric].direction == "higher"
    known = [value for value in values if value is not None and math.isfinite(value)]
    best = (max if higher else min)(known) if len(values) > 1 and known else None
    cells = "".join(_cell(value, value is not None and value == best) for value in values)
    about = html.escape(describe(metric), quote=True)
    return f'<tr data-metric="{metric}"><th title="{about}">{metric} {"↑" if higher else "↓"}</th>{cells}</tr>'


def _cell(value: float | None, best: bool) -> str:
    text = "–" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.1f}"
    return f"<td>{f'<b>{text}</b>' if best else text}</td>"
