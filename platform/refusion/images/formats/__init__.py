"""Decoders of one file's bytes: Pillow's formats, TIFF, NumPy arrays, medical formats; all give ``Samples``."""

from refusion.images.formats.dispatch import IMAGE_SUFFIXES, decode_samples, stem_of, suffix_of
from refusion.images.formats.samples import Samples

__all__ = ["IMAGE_SUFFIXES", "Samples", "decode_samples", "stem_of", "suffix_of"]
