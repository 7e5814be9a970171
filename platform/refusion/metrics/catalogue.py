"""The table of metrics: what is known about each one, and what computes it in each convention.

Another metric is one function in its family's file, one row here and one entry in a convention's file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from refusion.errors import UserError
from refusion.metrics.conventions import authors, cddfuse, corrected, tang, vifb
from refusion.metrics.facts import Convention, Definition, Metric

# Fast, and robust enough to be measured after every epoch.
METRICS: tuple[str, ...] = ("EN", "SD", "SF", "AG", "SCD", "SSIM", "VIF", "Qabf")

DEFAULT_CONVENTION = "authors"

CONVENTIONS: dict[str, Convention] = {
    "authors": Convention(
        "the evaluator published with TDFusion, and the commonest form of what it lacks",
        whole_sources=False,
        usual=METRICS,
    ),
    "cddfuse": Convention("the Python evaluator published with CDDFuse (CVPR 2023)", whole_sources=True),
    "vifb": Convention("the MATLAB evaluator of the VIFB benchmark (CVPRW 2020)", whole_sources=True),
    "tang": Convention("L. Tang's MATLAB evaluator, Evaluation-for-Image-Fusion", whole_sources=True),
    "corrected": Convention(
        "as authors, with what is a defect in the public evaluators mended", whole_sources=False, usual=METRICS
    ),
}

_DEFINITIONS: Mapping[str, Mapping[str, Definition]] = MappingProxyType(
    {
        "authors": authors.DEFINITIONS,
        "cddfuse": cddfuse.DEFINITIONS,
        "vifb": vifb.DEFINITIONS,
        "tang": tang.DEFINITIONS,
        "corrected": corrected.DEFINITIONS,
    }
)

# Name, title, better, raised by noise, looks at the sources, has a meaning against a true image, citation.
_FACTS = (
    Metric(
        "EN",
        "entropy (bits)",
        "higher",
        True,
        False,
        False,
        "Roberts, van Aardt & Ahmed, J. Applied Remote Sensing 2, 2008",
    ),
    Metric(
        "SD",
        "standard deviation (grey levels)",
        "higher",
        True,
        False,
        False,
        "Ma, Ma & Li, Information Fusion 45, 2019 (survey)",
    ),
    Metric(
        "SF",
        "spatial frequency",
        "higher",
        True,
        False,
        False,
        "Eskicioglu & Fisher, IEEE Trans. Communications 43(12), 1995",
    ),
    Metric(
        "AG",
        "average gradient",
        "higher",
        True,
        False,
        False,
        "Cui, Feng, Xu, Li & Chen, Optics Communications 341, 2015",
    ),
    Metric(
        "EI",
        "edge intensity",
        "higher",
        True,
        False,
        False,
        "Rajalingam & Priya, Int. J. Engineering Science Invention 2, 2018",
    ),
    Metric(
        "MI", "mutual information", "higher", False, True, False, "Qu, Zhang & Yan, Electronics Letters 38(7), 2002"
    ),
    Metric(
        "NMI",
        "normalised mutual information",
        "higher",
        False,
        True,
        False,
        "Hossny, Nahavandi & Creighton, Electronics Letters 44(18), 2008",
    ),
    Metric(
        "CE",
        "cross entropy",
        "lower",
        False,
        True,
        True,
        "Bulanon, Burks & Alchanatis, Biosystems Engineering 103(1), 2009",
    ),
    Metric(
        "CC",
        "correlation coefficient",
        "higher",
        False,
        True,
        True,
        "Deshmukh & Bhosale, Int. J. Computer Applications 9, 2010",
    ),
    Metric(
        "SCD",
        "sum of the correlations of differences",
        "higher",
        False,
        True,
        False,
        "Aslantas & Bendes, AEU 69(12), 2015",
    ),
    Metric("MSE", "mean squared error", "lower", False, True, True, "Jagalingam & Hegde, Aquatic Procedia 4, 2015"),
    Metric(
        "RMSE", "root mean squared error", "lower", False, True, True, "Jagalingam & Hegde, Aquatic Procedia 4, 2015"
    ),
    Metric(
        "PSNR",
        "peak signal-to-noise ratio (dB)",
        "higher",
        False,
        True,
        True,
        "Jagalingam & Hegde, Aquatic Procedia 4, 2015",
    ),
    Metric(
        "SSIM",
        "structural similarity",
        "higher",
        False,
        True,
        True,
        "Wang, Bovik, Sheikh & Simoncelli, IEEE Trans. Image Processing 13(4), 2004",
    ),
    Metric(
        "MS-SSIM",
        "multi-scale structural similarity",
        "higher",
        False,
        True,
        True,
        "Wang, Simoncelli & Bovik, Asilomar Conference on Signals, Systems and Computers, 2003",
    ),
    Metric(
        "MEF-SSIM",
        "structural similarity for multi-exposure fusion",
        "higher",
        False,
        True,
        False,
        "Ma, Zeng & Wang, IEEE Trans. Image Processing 24(11), 2015",
    ),
    Metric(
        "VIF",
        "visual information fidelity",
        "higher",
        False,
        True,
        True,
        "Sheikh & Bovik, IEEE Trans. Image Processing 15(2), 2006",
    ),
    Metric(
        "Qabf",
        "edge-based similarity",
        "higher",
        False,
        True,
        False,
        "Xydeas & Petrović, Electronics Letters 36(4), 2000",
    ),
    Metric(
        "Nabf",
        "fusion artefacts",
        "lower",
        False,
        True,
        False,
        "Petrović & Xydeas, Int. Conf. on Information Fusion, 2005",
    ),
    Metric(
        "FMI-pixel",
        "feature mutual information of grey levels",
        "higher",
        False,
        True,
        False,
        "Haghighat, Aghagolzadeh & Seyedarabi, Computers & Electrical Engineering 37(5), 2011",
    ),
    Metric(
        "FMI-gradient",
        "feature mutual information of gradients",
        "higher",
        False,
        True,
        False,
        "Haghighat, Aghagolzadeh & Seyedarabi, Computers & Electrical Engineering 37(5), 2011",
    ),
    Metric(
        "FMI-DCT",
        "feature mutual information of cosine-transform coefficients",
        "higher",
        False,
        True,
        False,
        "Haghighat & Razian, IEEE AICT, 2014",
    ),
    Metric(
        "FMI-wavelet",
        "feature mutual information of wavelet coefficients",
        "higher",
        False,
        True,
        False,
        "Haghighat & Razian, IEEE AICT, 2014",
    ),
    Metric(
        "Q_CB",
        "contrast quality after the human visual system",
        "higher",
        False,
        True,
        False,
        "Chen & Blum, Image and Vision Computing 27(10), 2009",
    ),
    Metric(
        "Q_CV",
        "perceptual error in the regions of the sources",
        "lower",
        False,
        True,
        False,
        "Chen & Varshney, Information Fusion 8(2), 2007",
    ),
)

CATALOGUE: dict[str, Metric] = {
    metric.name: replace(metric, definitions=definitions)
    for metric in _FACTS
    if (definitions := {convention: of[metric.name] for convention, of in _DEFINITIONS.items() if metric.name in of})
}


def find_definitions(names: Iterable[str] | None = None, convention: str = DEFAULT_CONVENTION) -> dict[str, Definition]:
    """Name → definition of the metrics asked for, in that order; without names the convention's usual ones.

    The one name ``"all"`` stands for all that the convention has.

    Raises:
        UserError: the convention, or one of the metrics in it, does not exist.
    """
    if convention not in CONVENTIONS:
        raise UserError(f"there is no metric convention {convention!r}: choose from {', '.join(CONVENTIONS)}")
    known = {
        name: metric.definitions[convention] for name, metric in CATALOGUE.items() if convention in metric.definitions
    }
    usual = CONVENTIONS[convention].usual
    wanted = [names] if isinstance(names, str) else list(names) if names is not None else list(usual or known)
    if wanted == ["all"]:
        return known
    for name in wanted:
        if name not in known:
            raise UserError(f"there is no metric {name!r} in convention {convention!r}: choose from {', '.join(known)}")
    return {name: known[name] for name in wanted}
