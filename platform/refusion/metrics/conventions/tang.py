"""Convention ``tang``: L. Tang's MATLAB evaluator (Evaluation-for-Image-Fusion), the source of most IVIF tables."""

from __future__ import annotations

from functools import partial
from math import inf, log2, log10

from refusion.metrics.catalogue import AUTHORS
from refusion.metrics.facts import Definition
from refusion.metrics.families.artefacts import artefacts_of_first_source
from refusion.metrics.families.deviations import mean_squared_error, peak_signal_to_noise_ratio
from refusion.metrics.families.exposure import mef_ssim, multi_scale_mef_ssim
from refusion.metrics.families.fidelity import summed_vifp
from refusion.metrics.families.gradients import average_gradient
from refusion.metrics.families.information import mutual_information
from refusion.metrics.families.structural import gaussian_ssim

_AS_AUTHORS = ("EN", "SD", "SF", "CC", "SCD", "Qabf")

DEFINITIONS: dict[str, Definition] = {
    **{name: AUTHORS[name] for name in _AS_AUTHORS},
    "AG": Definition(
        partial(average_gradient, over_intervals=True), 0, 1020, smallest_side=2, note="divides by (H−1)(W−1)"
    ),
    "MI": Definition(
        partial(mutual_information, merge_whites=True),
        0,
        2 * log2(258),
        adds_sources=True,
        note="bits; 254 and 255 are one level in the joint histogram",
    ),
    "MSE": Definition(partial(mean_squared_error, unit=255), 0, 1, note="on 0–1"),
    "PSNR": Definition(
        partial(peak_signal_to_noise_ratio, unit=255), 20 * log10(255), inf, note="error on 0–1, peak 255"
    ),
    "SSIM": Definition(
        partial(gaussian_ssim, peak=1.0, every_pixel=True),
        -1,
        1,
        note="MATLAB's ssim on doubles 0–255, whose range is then 1",
    ),
    "MS-SSIM": Definition(
        multi_scale_mef_ssim,
        0,
        1,
        smallest_side=44,
        evaluator_name="MS_SSIM",
        note="three scales of MEF-SSIM, not Wang's",
    ),
    "MEF-SSIM": Definition(mef_ssim, -1, 1, smallest_side=11, evaluator_name="MEF_SSIM", note="the finest scale only"),
    "VIF": Definition(summed_vifp, 0, inf, smallest_side=41, adds_sources=True),
    "Nabf": Definition(
        artefacts_of_first_source,
        0,
        1,
        smallest_side=2,
        note="the images are handed over in the wrong order: artefacts of source a against b and f",
    ),
}
