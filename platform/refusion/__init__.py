"""Meta-trains image-fusion networks on a Ray cluster (ReFusion, Bai et al., IJCV 2024)."""

__version__ = "0.1.0"
