"""The three modules: fusion (F), loss proposal (P), reconstruction (R). They know nothing of images on disk or of training."""

from refusion.networks.fusion import FusionModule
from refusion.networks.loss_proposal import LossProposalModule
from refusion.networks.published import load_published
from refusion.networks.reconstruction import ReconstructionModule

__all__ = ["FusionModule", "LossProposalModule", "ReconstructionModule", "load_published"]
