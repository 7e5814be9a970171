"""Classical ways to fuse, which need no training: what a trained module is compared with."""

from refusion.baselines.catalogue import BASELINES, Baseline, find_baseline, fuse_baseline, fuse_luminance

__all__ = ["BASELINES", "Baseline", "find_baseline", "fuse_baseline", "fuse_luminance"]
