"""Tries a user's classes out on tiny batches before a training begins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from refusion.config.network import NetworkSettings
from refusion.errors import UserError
from refusion.networks.full_size import pad_to_multiple
from refusion.networks.registry import KIND, Modules, foreign_code, foreign_kinds, multiple_of
from refusion.objectives import FusionWeights

_SIZES = ((24, 32), (23, 37))
# Convolutions of another batch size may add up in another order.
_ALIKE = 1e-3
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def check_modules(
    modules: Modules, network: NetworkSettings, crops: Iterable[int] = (), meta_iterations: int = 1
) -> None:
    """Tries out each module that is a user's class; the built-in ones need no check.

    Args:
        modules: as built from ``network``.
        network: its kinds.
        crops: sides of the training's crops, pixels.
        meta_iterations: per epoch; without any, P needs no parameters.

    Raises:
        UserError: names the setting and says what is wrong: no parameters or ones that cannot be trained, crops that
            do not fit, results of a wrong shape, not finite or out of range, or results that depend on chance or on
            the rest of the batch.
    """
    kinds = foreign_kinds(network)
    for (name, setting), module in zip(KIND.items(), modules, strict=True):
        if setting not in kinds:
            continue
        where = f"--{setting} {kinds[setting]}"
        for crop in crops:
            if crop % multiple_of(module):
                raise UserError(f"--images.crop {crop}: must be a multiple of {multiple_of(module)} with {where}")
        for size in _SIZES:
            _check_results(name, module, size, where)
        _check_parameters(module, where, may_be_fixed=name == "loss_proposal" and meta_iterations == 0)


def notes(modules: Modules, network: NetworkSettings) -> list[str]:
    """Says of each user's class which of its layers act otherwise than in PyTorch's training mode."""
    kinds, found = foreign_kinds(network), []
    for setting, module in zip(KIND.values(), modules, strict=True):
        layers = {type(layer).__name__ for layer in module.modules() if _has_two_modes(layer)}
        if setting in kinds and layers:
            found.append(
                f"--{setting} {kinds[setting]}: is trained in evaluation mode, so that no image depends on chance or "
                f"on the rest of its batch: of {', '.join(sorted(layers))}, batch norms keep the statistics they begin "
                "with, and dropout is off"
            )
    return found


def _has_two_modes(layer: nn.Module) -> bool:
    drops = isinstance(layer, _DROPOUTS) and layer.p > 0
    return drops or getattr(layer, "running_mean", None) is not None


def _check_parameters(module: nn.Module, where: str, may_be_fixed: bool) -> None:
    parameters = dict(module.named_parameters())
    if not parameters and not may_be_fixed:
        raise UserError(
            f"{where}: has no parameters; there is nothing to train (only P may be fixed, with "
            "--schedule.meta_iterations 0)"
        )
    frozen = next((name for name, parameter in parameters.items() if not parameter.requires_grad), None)
    if frozen is not None:
        raise UserError(f"{where}: its parameter {frozen} is frozen; make it a buffer, or let it require gradients")
    kind = torch.get_default_dtype()
    other = next((name for name, parameter in parameters.items() if parameter.dtype != kind), None)
    if other is not None:
        raise UserError(f"{where}: its parameter {other} is {parameters[other].dtype}; all must be {kind}")


def _check_results(name: str, module: nn.Module, size: tuple[int, int], where: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1 if name == "reconstruction" else 2, *size, generator=generator)
    images = pad_to_multiple(images, multiple_of(module))
    described = f"{where}: a batch of shape {tuple(images.shape)}"
    with torch.no_grad(), foreign_code(f"{described} makes it fail"):
        results, again, alone = (_tensors(module(batch)) for batch in (images, images, images[:1]))
    for result in results:
        _check_values(name, result, images, described)
    for result, same, first in zip(results, again, alone, strict=True):
        if not torch.equal(result, same):
            raise UserError(f"{where}: gives another result each time; it must not depend on chance in evaluation mode")
        if not torch.allclose(result[:1], first, rtol=_ALIKE, atol=_ALIKE):
            raise UserError(
                f"{where}: its result for one pair depends on the rest of the batch, so that the number of workers "
                "would change the training; normalise by GroupNorm or InstanceNorm instead"
            )


def _tensors(result: Any) -> list[Any]:
    return [part for part in result if part is not None] if isinstance(result, FusionWeights) else [result]


def _check_values(name: str, result: Any, images: torch.Tensor, described: str) -> None:
    if not isinstance(result, torch.Tensor):
        raise UserError(f"{described} gives a result of type {type(result).__name__}; it must be a tensor")
    shape = (len(images), 1 if name == "fusion" else 2, *images.shape[-2:])
    if tuple(result.shape) != shape:
        raise UserError(f"{described} gives a result of shape {tuple(result.shape)}; it must be {shape}")
    if not torch.isfinite(result).all():
        raise UserError(f"{described} gives values that are not finite")
    if name != "reconstruction" and not (result.min() >= 0 and result.max() <= 1):
        reach = f"from {float(result.min()):.3g} to {float(result.max()):.3g}"
        last = "sigmoid" if name == "fusion" else "softmax over the two sources"
        raise UserError(f"{described} gives values {reach}; they must lie within 0 and 1: end with a {last}")
    if name == "loss_proposal" and not torch.allclose(result.sum(dim=1), torch.ones(()), atol=1e-4):
        raise UserError(f"{described} gives weights that do not sum to 1 over the two sources: end with a softmax")
