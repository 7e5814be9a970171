"""Fusion of image pairs by a trained module."""

from refusion.fuse.loading import load_module, load_pretrained
from refusion.fuse.pictures import (
    as_picture,
    fuse_exact,
    fuse_luminance,
    fuse_pair,
    fuse_sources,
    fuse_to_depth,
    nearly_flat,
)

__all__ = [
    "as_picture",
    "fuse_exact",
    "fuse_luminance",
    "fuse_pair",
    "fuse_sources",
    "fuse_to_depth",
    "load_module",
    "load_pretrained",
    "nearly_flat",
]
