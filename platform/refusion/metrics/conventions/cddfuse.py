"""Convention ``cddfuse``: the Python evaluator published with CDDFuse, which reads the sources as whole grey levels."""

from __future__ import annotations

from functools import partial
from math import e, inf, log

from refusion.metrics.catalogue import AUTHORS
from refusion.metrics.facts import Definition
from refusion.metrics.families.deviations import peak_signal_to_noise_ratio
from refusion.metrics.families.fidelity import summed_vifp
from refusion.metrics.families.information import mutual_information
from refusion.metrics.families.structural import summed_ssim_of_range_two

_AS_AUTHORS = ("EN", "SD", "SF", "AG", "CC", "SCD", "MSE", "Qabf")

DEFINITIONS: dict[str, Definition] = {
    **{name: AUTHORS[name] for name in _AS_AUTHORS},
    "MI": Definition(partial(mutual_information, base=e), 0, 16 * log(2), adds_sources=True, note="nats"),
    "PSNR": Definition(
        partial(peak_signal_to_noise_ratio, peak=None), -inf, inf, note="peak is the fused image's maximum"
    ),
    "SSIM": Definition(
        summed_ssim_of_range_two,
        -2,
        2,
        smallest_side=7,
        adds_sources=True,
        note="data range taken as 2, in single precision",
    ),
    "VIF": Definition(
        partial(summed_vifp, flat=1.0),
        0,
        inf,
        smallest_side=41,
        adds_sources=True,
        evaluator_name="VIFF",
        note="a flat source counts as 1",
    ),
}
