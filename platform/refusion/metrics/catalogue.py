"""The catalogue of metrics: one row per metric, with its facts and its definition in convention ``authors``.

A new metric is a function in a file of ``families`` and a row here. Convention ``corrected`` takes over each row;
the other conventions name the metrics that their evaluators have.
"""

from __future__ import annotations

from math import e, inf, log2, sqrt

from refusion.metrics.facts import Definition, Metric
from refusion.metrics.families.artefacts import fusion_artefacts
from refusion.metrics.families.contrast import contrast_quality
from refusion.metrics.families.deviations import mean_squared_error, peak_signal_to_noise_ratio, root_mean_squared_error
from refusion.metrics.families.edges import edge_preservation
from refusion.metrics.families.exposure import multi_scale_mef_ssim
from refusion.metrics.families.feature_information import (
    cosine_information,
    gradient_information,
    pixel_information,
    wavelet_information,
)
from refusion.metrics.families.fidelity import mean_vifp
from refusion.metrics.families.gradients import average_gradient, edge_intensity, spatial_frequency
from refusion.metrics.families.information import (
    cross_entropy,
    entropy,
    mutual_information,
    normalised_mutual_information,
)
from refusion.metrics.families.multiscale import multi_scale_ssim
from refusion.metrics.families.regional import regional_error
from refusion.metrics.families.statistics import (
    mean_correlation,
    standard_deviation,
    sum_of_correlations_of_differences,
)
from refusion.metrics.families.structural import mean_ssim

ROWS: tuple[Metric, ...] = (
    Metric(
        "EN",
        "entropy (bits)",
        "higher",
        "Roberts, van Aardt & Ahmed, J. Applied Remote Sensing 2, 2008",
        {"authors": Definition(entropy, 0, 8)},
        noise_sensitive=True,
        needs_sources=False,
    ),
    Metric(
        "SD",
        "standard deviation (grey levels)",
        "higher",
        "Ma, Ma & Li, Information Fusion 45, 2019 (survey)",
        {"authors": Definition(standard_deviation, 0, 127.5)},
        noise_sensitive=True,
        needs_sources=False,
    ),
    Metric(
        "SF",
        "spatial frequency",
        "higher",
        "Eskicioglu & Fisher, IEEE Trans. Communications 43(12), 1995",
        {"authors": Definition(spatial_frequency, 0, 255 * sqrt(2), smallest_side=2)},
        noise_sensitive=True,
        needs_sources=False,
    ),
    Metric(
        "AG",
        "average gradient",
        "higher",
        "Cui, Feng, Xu, Li & Chen, Optics Communications 341, 2015",
        {"authors": Definition(average_gradient, 0, 255, smallest_side=2)},
        noise_sensitive=True,
        needs_sources=False,
    ),
    Metric(
        "EI",
        "edge intensity",
        "higher",
        "Rajalingam & Priya, Int. J. Engineering Science Invention 2, 2018",
        {"authors": Definition(edge_intensity, 0, 255 * sqrt(20))},
        noise_sensitive=True,
        needs_sources=False,
    ),
    Metric(
        "MI",
        "mutual information",
        "higher",
        "Qu, Zhang & Yan, Electronics Letters 38(7), 2002",
        {"authors": Definition(mutual_information, 0, 16, adds_sources=True, note="bits")},
    ),
    Metric(
        "NMI",
        "normalised mutual information",
        "higher",
        "Hossny, Nahavandi & Creighton, Electronics Letters 44(18), 2008",
        {"authors": Definition(normalised_mutual_information, 0, 2, adds_sources=True)},
    ),
    Metric(
        "CE",
        "cross entropy",
        "lower",
        "Bulanon, Burks & Alchanatis, Biosystems Engineering 103(1), 2009",
        {
            "authors": Definition(
                cross_entropy, -log2(e) / e, inf, note="grey levels that either image lacks are left out"
            )
        },
        full_reference=True,
    ),
    Metric(
        "CC",
        "correlation coefficient",
        "higher",
        "Deshmukh & Bhosale, Int. J. Computer Applications 9, 2010",
        {"authors": Definition(mean_correlation, -1, 1)},
        full_reference=True,
    ),
    Metric(
        "SCD",
        "sum of the correlations of differences",
        "higher",
        "Aslantas & Bendes, AEU 69(12), 2015",
        {"authors": Definition(sum_of_correlations_of_differences, -2, 2)},
    ),
    Metric(
        "MSE",
        "mean squared error",
        "lower",
        "Jagalingam & Hegde, Aquatic Procedia 4, 2015",
        {"authors": Definition(mean_squared_error, 0, 255**2)},
        full_reference=True,
    ),
    Metric(
        "RMSE",
        "root mean squared error",
        "lower",
        "Jagalingam & Hegde, Aquatic Procedia 4, 2015",
        {"authors": Definition(root_mean_squared_error, 0, 255, note="mean of the two roots")},
        full_reference=True,
    ),
    Metric(
        "PSNR",
        "peak signal-to-noise ratio (dB)",
        "higher",
        "Jagalingam & Hegde, Aquatic Procedia 4, 2015",
        {"authors": Definition(peak_signal_to_noise_ratio, 0, inf, note="peak 255, mean of the two squared errors")},
        full_reference=True,
    ),
    Metric(
        "SSIM",
        "structural similarity",
        "higher",
        "Wang, Bovik, Sheikh & Simoncelli, IEEE Trans. Image Processing 13(4), 2004",
        {"authors": Definition(mean_ssim, -1, 1, smallest_side=7)},
        full_reference=True,
    ),
    Metric(
        "MS-SSIM",
        "multi-scale structural similarity",
        "higher",
        "Wang, Simoncelli & Bovik, Asilomar Conference on Signals, Systems and Computers, 2003",
        {"authors": Definition(multi_scale_ssim, 0, 1, smallest_side=176, note="five scales with Wang's weights")},
        full_reference=True,
    ),
    Metric(
        "MEF-SSIM",
        "structural similarity for multi-exposure fusion",
        "higher",
        "Ma, Zeng & Wang, IEEE Trans. Image Processing 24(11), 2015",
        {"authors": Definition(multi_scale_mef_ssim, 0, 1, smallest_side=44, note="three scales")},
    ),
    Metric(
        "VIF",
        "visual information fidelity",
        "higher",
        "Sheikh & Bovik, IEEE Trans. Image Processing 15(2), 2006",
        {"authors": Definition(mean_vifp, 0, inf, smallest_side=41)},
        full_reference=True,
    ),
    Metric(
        "Qabf",
        "edge-based similarity",
        "higher",
        "Xydeas & Petrović, Electronics Letters 36(4), 2000",
        {"authors": Definition(edge_preservation, 0, 1, note="equal edge strengths count as that strength, not as 1")},
    ),
    Metric(
        "Nabf",
        "fusion artefacts",
        "lower",
        "Petrović & Xydeas, Int. Conf. on Information Fusion, 2005",
        {"authors": Definition(fusion_artefacts, 0, 1, smallest_side=2, note="as modified by Shreyamsha Kumar")},
    ),
    Metric(
        "FMI-pixel",
        "feature mutual information of grey levels",
        "higher",
        "Haghighat, Aghagolzadeh & Seyedarabi, Computers & Electrical Engineering 37(5), 2011",
        {
            "authors": Definition(
                pixel_information, -inf, inf, smallest_side=3, note="about 0 to 1, but windows may lie outside"
            )
        },
    ),
    Metric(
        "FMI-gradient",
        "feature mutual information of gradients",
        "higher",
        "Haghighat, Aghagolzadeh & Seyedarabi, Computers & Electrical Engineering 37(5), 2011",
        {
            "authors": Definition(
                gradient_information, -inf, inf, smallest_side=3, note="horizontal differences only, as in fmi.m"
            )
        },
    ),
    Metric(
        "FMI-DCT",
        "feature mutual information of cosine-transform coefficients",
        "higher",
        "Haghighat & Razian, IEEE AICT, 2014",
        {"authors": Definition(cosine_information, -inf, inf, smallest_side=3)},
    ),
    Metric(
        "FMI-wavelet",
        "feature mutual information of wavelet coefficients",
        "higher",
        "Haghighat & Razian, IEEE AICT, 2014",
        {"authors": Definition(wavelet_information, -inf, inf)},
    ),
    Metric(
        "Q_CB",
        "contrast quality after the human visual system",
        "higher",
        "Chen & Blum, Image and Vision Computing 27(10), 2009",
        {"authors": Definition(contrast_quality, 0, 1, note="every image is first stretched to 0–255 by itself")},
    ),
    Metric(
        "Q_CV",
        "perceptual error in the regions of the sources",
        "lower",
        "Chen & Varshney, Information Fusion 8(2), 2007",
        {"authors": Definition(regional_error, 0, inf, note="every image is first stretched to 0–255 by itself")},
    ),
)

AUTHORS: dict[str, Definition] = {metric.name: metric.definitions["authors"] for metric in ROWS}
