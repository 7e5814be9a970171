"""Convention ``vifb``: the MATLAB evaluator of the VIFB benchmark (Zhang, Ye & Xiao, CVPRW 2020)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import e, inf, log, log2, log10, sqrt

from refusion.metrics.catalogue import AUTHORS
from refusion.metrics.facts import Definition
from refusion.metrics.families.deviations import psnr_of_root_error, root_error_per_pixel
from refusion.metrics.families.gradients import average_gradient, edge_intensity, spatial_frequency
from refusion.metrics.families.information import cross_entropy, mutual_information
from refusion.metrics.families.structural import summed_gaussian_ssim

DEFINITIONS: dict[str, Definition] = {
    "EN": replace(AUTHORS["EN"], evaluator_name="Entropy"),
    "SD": replace(AUTHORS["SD"], evaluator_name="Variance"),
    "SF": Definition(
        partial(spatial_frequency, over_all_pixels=True),
        0,
        255 * sqrt(2),
        evaluator_name="Spatial_frequency",
        note="divides by H·W",
    ),
    "AG": Definition(
        partial(average_gradient, over_intervals=True),
        0,
        1020,
        smallest_side=2,
        evaluator_name="Avg_gradient",
        note="divides by (H−1)(W−1)",
    ),
    "EI": Definition(edge_intensity, 0, 255 * sqrt(20), evaluator_name="Edge_intensity"),
    "MI": Definition(
        partial(mutual_information, base=e), 0, 16 * log(2), adds_sources=True, evaluator_name="Mutinf", note="nats"
    ),
    "CE": Definition(
        cross_entropy,
        -log2(e) / e,
        inf,
        evaluator_name="Cross_entropy",
        note="grey levels that either image lacks are left out",
    ),
    "RMSE": Definition(
        root_error_per_pixel, 0, 255, evaluator_name="Rmse", note="root before the division: RMSE / sqrt(H·W)"
    ),
    "PSNR": Definition(
        psnr_of_root_error, 10 * log10(255), inf, evaluator_name="Psnr", note="RMSE / sqrt(H·W) in the place of MSE"
    ),
    "SSIM": Definition(
        summed_gaussian_ssim,
        -2,
        2,
        smallest_side=11,
        adds_sources=True,
        evaluator_name="Ssim",
        note="Gaussian window, inside the image",
    ),
    "Qabf": AUTHORS["Qabf"],
    "Q_CB": replace(AUTHORS["Q_CB"], evaluator_name="Qcb"),
    "Q_CV": replace(AUTHORS["Q_CV"], evaluator_name="Qcv"),
}
