"""Image pairs: finding and checking, reading, crops, an in-memory store, and colour.

Data flows one way: files → ``pair_check`` (once) → ``store`` (luminance, cached) → the crops that ``crops`` plans.
``builtin`` makes a small data set out of scikit-image's own pictures.
"""

from refusion.config.ranges import Reading
from refusion.images.colour import has_colour, luminance, restore_colour, saved_luminance, stretch, stretch_exact
from refusion.images.crops import CropPlan, apply_crop, plan_fusion, plan_meta
from refusion.images.pair_check import check_matched, check_sources, find_and_check
from refusion.images.pairs import Checked, Pair, Problem, bad_pairs_error, dataset_digest
from refusion.images.reading import IMAGE_SUFFIXES, read_image
from refusion.images.store import PairStore
from refusion.images.writing import write_image

__all__ = [
    "IMAGE_SUFFIXES",
    "Checked",
    "CropPlan",
    "Pair",
    "PairStore",
    "Problem",
    "Reading",
    "apply_crop",
    "bad_pairs_error",
    "check_matched",
    "check_sources",
    "dataset_digest",
    "find_and_check",
    "has_colour",
    "luminance",
    "plan_fusion",
    "plan_meta",
    "read_image",
    "restore_colour",
    "saved_luminance",
    "stretch",
    "stretch_exact",
    "write_image",
]
