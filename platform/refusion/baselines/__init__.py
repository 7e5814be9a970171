"""Classical fusion methods, which need no training: the baselines of a trained module."""

from refusion.baselines.catalogue import BASELINES, Baseline, find_baseline, fuse_baseline, fuse_luminance

__all__ = ["BASELINES", "Baseline", "find_baseline", "fuse_baseline", "fuse_luminance"]
