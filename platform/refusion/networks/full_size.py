"""Whole pictures of any size through any module, without a graph: padded where the module's sizes ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from refusion.errors import UserError
from refusion.networks.fusion import FusionModule
from refusion.networks.registry import multiple_of
from refusion.networks.room import check_room
from refusion.networks.tiled_inference import OnRows, ReadRows, fuse_tiled, fused_strips
from refusion.objectives import FusionWeights
from refusion.ops.backend import float32_as_configured


@torch.no_grad()
def fuse_full_size(module: nn.Module, sources: torch.Tensor) -> torch.Tensor:
    """Fuses whole pictures: tile by tile with the built-in network, in one forward pass with any other.

    Args:
        module: F, where the work is to be done.
        sources: (B, 2, H, W) in [0, 1], a first, then b; any H, W ≥ 1.

    Returns:
        The fused images, (B, 1, H, W).

    Raises:
        UserError: the module gives images of another shape, or would need more memory than there is.

    >>> module = FusionModule(width=8, blocks=1)
    >>> fuse_full_size(module, torch.rand(1, 2, 15, 21)).shape
    torch.Size([1, 1, 15, 21])
    """
    # A class derived from it may have another forward pass.
    if type(module) is FusionModule:
        return fuse_tiled(module, sources)
    padded = pad_to_multiple(sources, multiple_of(module))
    check_room(module, padded)
    with float32_as_configured(padded):
        fused: torch.Tensor = module(padded)
    expected = (sources.shape[0], 1, *padded.shape[-2:])
    if tuple(fused.shape) != expected:
        height, width = sources.shape[-2:]
        raise UserError(
            f"{type(module).__name__}: pictures of {width}×{height} pixels give a result of shape "
            f"{tuple(fused.shape)}, not {expected}; where its sizes must be multiples of some number, give the class "
            "an attribute `multiple`"
        )
    return cropped(fused, sources)


@torch.no_grad()
def fuse_rows(
    module: nn.Module, read: ReadRows, height: int, width: int, progress: OnRows | None = None
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yields a fused picture strip by strip: its first row, and (1, 1, rows, width); one strip with a user's network.

    Args:
        module: F, where the work is to be done.
        read: gives rows of the sources there.
        height, width: of the picture.
        progress: is told after each strip; never with a user's network.

    Raises:
        UserError: the module gives images of another shape, or a large picture's maps find no room.
    """
    if type(module) is FusionModule:
        yield from fused_strips(module, read, height, width, progress=progress)
    else:
        yield 0, fuse_full_size(module, read(0, height))


@torch.no_grad()
def propose_full_size(module: nn.Module, sources: torch.Tensor) -> FusionWeights:
    """Weights that P proposes for whole pictures, each (B, 2, H, W) as the sources."""
    with float32_as_configured(sources):
        weights: FusionWeights = module(pad_to_multiple(sources, multiple_of(module)))
    gradient = None if weights.gradient is None else cropped(weights.gradient, sources)
    return FusionWeights(cropped(weights.intensity, sources), gradient)


def pad_to_multiple(images: torch.Tensor, multiple: int) -> torch.Tensor:
    """Pads (B, C, H, W) below and on the right up to multiples, by reflection, or by the edge where it is too small.

    >>> pad_to_multiple(torch.rand(1, 2, 30, 32), 16).shape
    torch.Size([1, 2, 32, 32])
    """
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return images
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, below), mode)


def cropped(images: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The part of padded images that has the height and width of ``like``."""
    return images[..., : like.shape[-2], : like.shape[-1]]
