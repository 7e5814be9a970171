"""Pairs of source images: found and checked, read, cut into crops, kept in memory; and colour.

Files → ``pairs`` (checked once) → ``store`` (luminance, cached) → crops that ``crops`` plans. ``builtin`` makes a small
data set out of scikit-image's own pictures.
"""

from refusion.images.colour import has_colour, luminance, restore_colour, stretch, stretch_exact
from refusion.images.crops import CropPlan, cut, plan_fusion, plan_meta
from refusion.images.pairs import Pair, Problem, dataset_digest, find_and_check, refuse
from refusion.images.reading import IMAGE_SUFFIXES, read_image, write_image
from refusion.images.store import PairStore

__all__ = [
    "IMAGE_SUFFIXES",
    "CropPlan",
    "Pair",
    "PairStore",
    "Problem",
    "cut",
    "dataset_digest",
    "find_and_check",
    "has_colour",
    "luminance",
    "plan_fusion",
    "plan_meta",
    "read_image",
    "refuse",
    "restore_colour",
    "stretch",
    "stretch_exact",
    "write_image",
]
