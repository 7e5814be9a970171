"""Convention ``corrected``: ``authors`` with the defects of the public evaluators mended."""

from __future__ import annotations

from functools import partial
from math import inf

from refusion.metrics.catalogue import AUTHORS
from refusion.metrics.facts import Definition
from refusion.metrics.families.contrast import corrected_contrast_quality
from refusion.metrics.families.edges import corrected_edge_preservation
from refusion.metrics.families.feature_information import (
    cosine_information,
    edge_strength_information,
    pixel_information,
    wavelet_information,
)
from refusion.metrics.families.information import cross_entropy
from refusion.metrics.families.regional import corrected_regional_error

DEFINITIONS: dict[str, Definition] = {
    **AUTHORS,
    "CE": Definition(
        partial(cross_entropy, prior=0.5),
        0,
        inf,
        note="half a pixel added to every grey level, so that none is left out",
    ),
    "FMI-pixel": Definition(partial(pixel_information, limited=True), 0, 1, smallest_side=3),
    "FMI-gradient": Definition(
        partial(edge_strength_information, limited=True),
        0,
        1,
        smallest_side=3,
        note="strength of edges in all directions",
    ),
    "FMI-DCT": Definition(partial(cosine_information, limited=True), 0, 1, smallest_side=3),
    "FMI-wavelet": Definition(partial(wavelet_information, limited=True), 0, 1),
    "Q_CB": Definition(corrected_contrast_quality, 0, 1, note="not stretched, borders repeated"),
    "Q_CV": Definition(corrected_regional_error, 0, inf, note="not stretched, borders repeated, slope 0.114"),
    "Qabf": Definition(corrected_edge_preservation, 0, 1, note="ties count as 1, angle difference wrapped"),
}
