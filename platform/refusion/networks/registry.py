"""Kinds of networks: the built-in modules in chosen sizes, or any class that the user names by its import path.

A class of the user's is made with the options of its setting. It takes the place of

- F: `network.kind`, the sources (B, 2, H, W) to the fused image (B, 1, H, W) in [0, 1];
- P: `network.loss_proposal_kind`, the sources (B, 2, H, W) to `FusionWeights`, or to one tensor (B, 2, H, W) of weights
  that sum to 1, which then weigh intensities and gradients alike;
- R: `network.reconstruction_kind`, the fused image (B, 1, H, W) to the rebuilt sources (B, 2, H, W).

Where the class has an attribute `multiple`, heights and widths must be multiples of it: crops are checked, and whole
pictures are padded (`full_size`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from refusion.config.network import BUILTIN_NETWORK, NetworkSettings
from refusion.config.objective import Learned
from refusion.errors import UserError
from refusion.import_path import resolve
from refusion.networks.fusion import FusionModule
from refusion.networks.initialization import start_from_average
from refusion.networks.loss_proposal import LossProposalModule
from refusion.networks.reconstruction import ReconstructionModule
from refusion.objectives import FusionWeights

KIND = {
    "fusion": "network.kind",
    "loss_proposal": "network.loss_proposal_kind",
    "reconstruction": "network.reconstruction_kind",
}
"""The setting that names the class of each module."""


class Modules(NamedTuple):
    """F, P and R, in evaluation mode."""

    fusion: nn.Module
    loss_proposal: nn.Module
    reconstruction: nn.Module


class Proposal(nn.Module):
    """P of a user's class: whatever of the two results it gives, as the `FusionWeights` that the fusion loss takes.

    Attributes:
        learn_gradient_weights: the gradient term has learned weights too.
    """

    def __init__(self, proposal: nn.Module, learn_gradient_weights: bool) -> None:
        super().__init__()
        self.proposal = proposal
        self.learn_gradient_weights = learn_gradient_weights

    @property
    def multiple(self) -> int:
        """Divisor of heights and widths."""
        return multiple_of(self.proposal)

    def forward(self, sources: torch.Tensor) -> FusionWeights:
        proposed = self.proposal(sources)
        intensity, gradient = proposed if isinstance(proposed, tuple) else (proposed, proposed)
        return FusionWeights(intensity, gradient if self.learn_gradient_weights else None)


def foreign_kinds(network: NetworkSettings) -> dict[str, str]:
    """Returns setting and import path of each module that is a user's class."""
    kinds = {setting: str(getattr(network, setting.removeprefix("network."))) for setting in KIND.values()}
    return {setting: kind for setting, kind in kinds.items() if kind != BUILTIN_NETWORK}


def multiple_of(module: nn.Module) -> int:
    """Divisor of the heights and widths that the module takes; 1 where its class does not say."""
    return int(getattr(module, "multiple", 1))


def build_modules(network: NetworkSettings, learn_gradient_weights: bool = True, learned: Learned = "both") -> Modules:
    """Builds F, P and R with random weights, drawn in this order.

    Args:
        network: kinds, options and sizes.
        learn_gradient_weights: P proposes weights of the gradient term too.
        learned: which of the built-in P's pairs of weights is learned.

    Raises:
        UserError: a class cannot be imported, is no `nn.Module`, or does not take its options.

    >>> modules = build_modules(NetworkSettings(width=8, reconstruction_width=8, blocks=1))
    >>> modules.fusion(torch.rand(1, 2, 16, 16)).shape
    torch.Size([1, 1, 16, 16])
    """
    sizes = {"heads": network.heads, "blocks": network.blocks, "expansion": network.expansion}
    of_fusion = {"width": network.width, **sizes, "output": network.output, "even_below": network.even_below}
    fusion = build_fusion(network.kind, network.options, of_fusion)
    loss_proposal = _build(
        "loss_proposal",
        network.loss_proposal_kind,
        network.loss_proposal_options,
        lambda: LossProposalModule(
            network.width,
            **sizes,
            learn_gradient_weights=learn_gradient_weights,
            equivariant=network.equivariant,
            centred=network.centred,
            prior=network.prior,
            learned=learned,
        ),
    )
    if network.loss_proposal_kind != BUILTIN_NETWORK:
        loss_proposal = Proposal(loss_proposal, learn_gradient_weights)
    reconstruction = _build(
        "reconstruction",
        network.reconstruction_kind,
        network.reconstruction_options,
        lambda: ReconstructionModule(
            network.reconstruction_width, **sizes, from_fused=network.reconstruction_from_fused
        ),
    )
    # After all draws, which stay those of a random start.
    if network.start == "average" and network.kind == BUILTIN_NETWORK:
        assert isinstance(fusion, FusionModule)
        start_from_average(fusion)
    return Modules(fusion, loss_proposal.eval(), reconstruction.eval())


def build_fusion(kind: str, options: Mapping[str, Any], sizes: Mapping[str, Any]) -> nn.Module:
    """Builds F alone, with random weights.

    Args:
        kind: "refusion", or the import path of a class, whose code is run.
        options: keyword arguments of that class.
        sizes: width, heads, blocks, expansion, output and even_below of the built-in network.

    Raises:
        UserError: as `build_modules`.
    """
    return _build("fusion", kind, options, lambda: FusionModule(**sizes)).eval()


def _build(module: str, kind: str, options: Mapping[str, Any], built_in: Callable[[], nn.Module]) -> nn.Module:
    if kind == BUILTIN_NETWORK:
        return built_in()
    setting = KIND[module]
    found = resolve(kind, setting)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"--{setting} {kind}: is no class of torch.nn.Module; name one")
    try:
        inspect.signature(found).bind(**options)
    except TypeError as error:
        names = ", ".join(inspect.signature(found).parameters) or "none"
        option = setting.replace("kind", "options")
        raise UserError(f"--{option}: {kind} does not take them ({error}); its arguments are: {names}") from error
    with foreign_code(f"--{setting} {kind}: cannot be made with its options"):
        module_of_class: nn.Module = found(**options)
    return module_of_class


@contextmanager
def foreign_code(what_fails: str) -> Iterator[None]:
    """Turns whatever exception a user's class raises into a sentence that begins with ``what_fails``.

    Raises:
        UserError: code within raised an exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise UserError(f"{what_fails}: {type(error).__name__}: {text}") from error
