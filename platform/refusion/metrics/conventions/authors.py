"""``authors``: the evaluator published with TDFusion, and the commonest form of what it lacks. The default."""

from __future__ import annotations

from math import e, inf, log2, sqrt

from refusion.metrics.artefacts import fusion_artefacts
from refusion.metrics.contrast import contrast_quality
from refusion.metrics.deviations import mean_squared_error, peak_signal_to_noise_ratio, root_mean_squared_error
from refusion.metrics.edges import edge_preservation
from refusion.metrics.exposure import multi_scale_mef_ssim
from refusion.metrics.facts import Definition
from refusion.metrics.feature_information import (
    cosine_information,
    gradient_information,
    pixel_information,
    wavelet_information,
)
from refusion.metrics.fidelity import mean_vifp
from refusion.metrics.gradients import average_gradient, edge_intensity, spatial_frequency
from refusion.metrics.information import cross_entropy, entropy, mutual_information, normalised_mutual_information
from refusion.metrics.multiscale import multi_scale_ssim
from refusion.metrics.regional import regional_error
from refusion.metrics.statistics import mean_correlation, standard_deviation, sum_of_correlations_of_differences
from refusion.metrics.structural import mean_ssim

DEFINITIONS: dict[str, Definition] = {
    "EN": Definition(entropy, 0, 8),
    "SD": Definition(standard_deviation, 0, 127.5),
    "SF": Definition(spatial_frequency, 0, 255 * sqrt(2), smallest_side=2),
    "AG": Definition(average_gradient, 0, 255, smallest_side=2),
    "EI": Definition(edge_intensity, 0, 255 * sqrt(20)),
    "MI": Definition(mutual_information, 0, 16, adds_sources=True, note="bits"),
    "NMI": Definition(normalised_mutual_information, 0, 2, adds_sources=True),
    "CE": Definition(cross_entropy, -log2(e) / e, inf, note="grey levels that either image lacks are left out"),
    "CC": Definition(mean_correlation, -1, 1),
    "MSE": Definition(mean_squared_error, 0, 255**2),
    "RMSE": Definition(root_mean_squared_error, 0, 255, note="mean of the two roots"),
    "PSNR": Definition(peak_signal_to_noise_ratio, 0, inf, note="peak 255, mean of the two squared errors"),
    "SCD": Definition(sum_of_correlations_of_differences, -2, 2),
    "SSIM": Definition(mean_ssim, -1, 1, smallest_side=7),
    "MS-SSIM": Definition(multi_scale_ssim, 0, 1, smallest_side=176, note="five scales with Wang's weights"),
    "MEF-SSIM": Definition(multi_scale_mef_ssim, 0, 1, smallest_side=44, note="three scales"),
    "VIF": Definition(mean_vifp, 0, inf, smallest_side=41),
    "Qabf": Definition(edge_preservation, 0, 1, note="equal edge strengths count as that strength, not as 1"),
    "Nabf": Definition(fusion_artefacts, 0, 1, smallest_side=2, note="as modified by Shreyamsha Kumar"),
    "FMI-pixel": Definition(
        pixel_information, -inf, inf, smallest_side=3, note="about 0 to 1, but windows may lie outside"
    ),
    "FMI-gradient": Definition(
        gradient_information, -inf, inf, smallest_side=3, note="horizontal differences only, as in fmi.m"
    ),
    "FMI-DCT": Definition(cosine_information, -inf, inf, smallest_side=3),
    "FMI-wavelet": Definition(wavelet_information, -inf, inf),
    "Q_CB": Definition(contrast_quality, 0, 1, note="every image is first stretched to 0–255 by itself"),
    "Q_CV": Definition(regional_error, 0, inf, note="every image is first stretched to 0–255 by itself"),
}
