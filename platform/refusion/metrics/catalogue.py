"""The table of metrics: what is known about each one, and what computes it in each convention.

Another metric is one file (or one function in its family's file) and one row here; another convention of a metric is
one more entry in its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, sqrt
from typing import Literal

from torch import Tensor

from refusion.errors import UserError
from refusion.metrics.edges import edge_preservation
from refusion.metrics.fidelity import mean_vifp
from refusion.metrics.gradients import average_gradient, spatial_frequency
from refusion.metrics.information import entropy
from refusion.metrics.statistics import standard_deviation, sum_of_correlations_of_differences
from refusion.metrics.structural import mean_ssim

CONVENTIONS = {"authors": "the evaluator published with TDFusion, and the commonest form of what it lacks"}
DEFAULT_CONVENTION = "authors"


@dataclass(frozen=True)
class Definition:
    """A metric as one convention computes it.

    ``compute`` takes the fused images (B,H,W), whole grey levels, and the sources (2,B,H,W), all float64 on 0–255, and
    gives (B,) float64. Scores lie in [``low``, ``high``]; ``smallest_side`` is the least height and width it works on.
    """

    compute: Callable[[Tensor, Tensor], Tensor]
    low: float
    high: float
    smallest_side: int = 1


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    ``noise_sensitive`` metrics have no upper target, for noise raises them: no choice of a best model rests on them
    alone. ``needs_sources`` is False where the fused image alone decides the score.
    """

    name: str
    title: str
    direction: Literal["higher", "lower"]
    noise_sensitive: bool
    needs_sources: bool
    citation: str
    definitions: dict[str, Definition]


CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "EN",
            "entropy (bits)",
            "higher",
            noise_sensitive=True,
            needs_sources=False,
            citation="Roberts, van Aardt & Ahmed, J. Applied Remote Sensing 2, 2008",
            definitions={"authors": Definition(entropy, 0, 8)},
        ),
        Metric(
            "SD",
            "standard deviation (grey levels)",
            "higher",
            noise_sensitive=True,
            needs_sources=False,
            citation="Ma, Ma & Li, Information Fusion 45, 2019 (survey)",
            definitions={"authors": Definition(standard_deviation, 0, 127.5)},
        ),
        Metric(
            "SF",
            "spatial frequency",
            "higher",
            noise_sensitive=True,
            needs_sources=False,
            citation="Eskicioglu & Fisher, IEEE Trans. Communications 43(12), 1995",
            definitions={"authors": Definition(spatial_frequency, 0, 255 * sqrt(2), smallest_side=2)},
        ),
        Metric(
            "AG",
            "average gradient",
            "higher",
            noise_sensitive=True,
            needs_sources=False,
            citation="Cui, Feng, Xu, Li & Chen, Optics Communications 341, 2015",
            definitions={"authors": Definition(average_gradient, 0, 255, smallest_side=2)},
        ),
        Metric(
            "SCD",
            "sum of the correlations of differences",
            "higher",
            noise_sensitive=False,
            needs_sources=True,
            citation="Aslantas & Bendes, AEU 69(12), 2015",
            definitions={"authors": Definition(sum_of_correlations_of_differences, -2, 2)},
        ),
        Metric(
            "SSIM",
            "structural similarity",
            "higher",
            noise_sensitive=False,
            needs_sources=True,
            citation="Wang, Bovik, Sheikh & Simoncelli, IEEE Trans. Image Processing 13(4), 2004",
            definitions={"authors": Definition(mean_ssim, -1, 1, smallest_side=7)},
        ),
        Metric(
            "VIF",
            "visual information fidelity",
            "higher",
            noise_sensitive=False,
            needs_sources=True,
            citation="Sheikh & Bovik, IEEE Trans. Image Processing 15(2), 2006",
            definitions={"authors": Definition(mean_vifp, 0, inf, smallest_side=41)},
        ),
        Metric(
            "Qabf",
            "edge-based similarity",
            "higher",
            noise_sensitive=False,
            needs_sources=True,
            citation="Xydeas & Petrović, Electronics Letters 36(4), 2000",
            definitions={"authors": Definition(edge_preservation, 0, 1)},
        ),
    )
}

METRICS: tuple[str, ...] = tuple(CATALOGUE)


def find_definitions(names: Iterable[str] | None = None, convention: str = DEFAULT_CONVENTION) -> dict[str, Definition]:
    """Name → definition of the metrics asked for, in that order; without names all that the convention has.

    Raises:
        UserError: the convention, or one of the metrics in it, does not exist.
    """
    if convention not in CONVENTIONS:
        raise UserError(f"there is no metric convention {convention!r}: choose from {', '.join(CONVENTIONS)}")
    known = {
        name: metric.definitions[convention] for name, metric in CATALOGUE.items() if convention in metric.definitions
    }
    if names is None:
        return known
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in known:
            raise UserError(f"there is no metric {name!r} in convention {convention!r}: choose from {', '.join(known)}")
    return {name: known[name] for name in wanted}
