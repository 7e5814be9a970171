"""The three modules: fusion (F), loss proposal (P), reconstruction (R)."""

from refusion.networks.full_size import fuse_full_size
from refusion.networks.fusion import FusionModule
from refusion.networks.initialization import start_from_average
from refusion.networks.loss_proposal import LossProposalModule
from refusion.networks.published import load_published
from refusion.networks.reconstruction import ReconstructionModule
from refusion.networks.registry import build_modules
from refusion.networks.tiled_inference import fuse_tiled

__all__ = [
    "FusionModule",
    "LossProposalModule",
    "ReconstructionModule",
    "build_modules",
    "fuse_full_size",
    "fuse_tiled",
    "load_published",
    "start_from_average",
]
