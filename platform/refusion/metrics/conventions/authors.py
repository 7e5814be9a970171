"""``authors``: the evaluator published with TDFusion, and the commonest form of what it lacks. The default."""

from __future__ import annotations

from math import inf, sqrt

from refusion.metrics.edges import edge_preservation
from refusion.metrics.facts import Definition
from refusion.metrics.fidelity import mean_vifp
from refusion.metrics.gradients import average_gradient, spatial_frequency
from refusion.metrics.information import entropy
from refusion.metrics.statistics import standard_deviation, sum_of_correlations_of_differences
from refusion.metrics.structural import mean_ssim

DEFINITIONS: dict[str, Definition] = {
    "EN": Definition(entropy, 0, 8),
    "SD": Definition(standard_deviation, 0, 127.5),
    "SF": Definition(spatial_frequency, 0, 255 * sqrt(2), smallest_side=2),
    "AG": Definition(average_gradient, 0, 255, smallest_side=2),
    "SCD": Definition(sum_of_correlations_of_differences, -2, 2),
    "SSIM": Definition(mean_ssim, -1, 1, smallest_side=7),
    "VIF": Definition(mean_vifp, 0, inf, smallest_side=41),
    "Qabf": Definition(edge_preservation, 0, 1, note="equal edge strengths count as that strength, not as 1"),
}
