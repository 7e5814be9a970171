"""Fusion of image pairs by a trained module."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from refusion.checksums import check_checksums
from refusion.config.network import BUILTIN_NETWORK
from refusion.errors import UserError
from refusion.images.colour import luminance, restore_colour, restore_colour_exact, stretch_exact
from refusion.images.pair_check import NEARLY_CONSTANT
from refusion.images.writing import to_depth
from refusion.import_path import is_import_path, refuse_untrusted
from refusion.networks.full_size import fuse_full_size
from refusion.networks.published import load_published
from refusion.networks.registry import build_fusion
from refusion.networks.weight_files import read_safetensors
from refusion.shipped import WEIGHT_SUFFIXES, shipped_folder

_WEIGHTS, _SETTINGS = "fusion.safetensors", "settings.yaml"
# Wider than the network sees from a pixel, so that a flat pair shows no border.
_SURROUND = 32


def load_module(checkpoint: str | Path, *, trust_code: bool | Collection[str] = False) -> nn.Module:
    """Loads the fusion module of a checkpoint on this machine, on the CPU and in evaluation mode.

    Args:
        checkpoint: a checkpoint folder of ours, the ``fusion.safetensors`` in it, or a file with the weights of the
            built-in network, such as one of the authors' ``.pth``, as `refusion.networks.load_published` takes it.
        trust_code: permission to run code from outside of this package where the checkpoint names such a network: True
            for any, or the import paths that may be.

    Returns:
        The module, (B,2,H,W) to (B,1,H,W).

    Raises:
        UserError: there is no such file or folder, it holds no fusion module, is damaged or not finite, or it names
            code that is not trusted.

    Example:
        >>> load_module("nowhere/IVIF/final")
        Traceback (most recent call last):
        refusion.errors.UserError: nowhere/IVIF/final: there is no fusion.safetensors; give a checkpoint folder ...
    """
    path = Path(checkpoint).expanduser()
    has_settings = path.name == _WEIGHTS and (path.parent / _SETTINGS).is_file()
    if not has_settings and (path.is_file() or (not path.exists() and path.name.lower().endswith(WEIGHT_SUFFIXES))):
        return _finite(load_published(path), path)
    folder = path.parent if has_settings else path
    for name in (_WEIGHTS, _SETTINGS):
        if not (folder / name).is_file():
            raise UserError(
                f"{checkpoint}: there is no {name}; give a checkpoint folder such as RUN/IVIF/best, or a weight file"
            )
    check_checksums(folder, whole=False)
    module = _module_of(folder / _SETTINGS, trust_code)
    try:
        module.load_state_dict(read_safetensors(folder / _WEIGHTS))
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{folder / _WEIGHTS}: does not hold the module that settings.yaml describes ({reason})"
        ) from error
    return _finite(module, folder / _WEIGHTS)


def _finite(module: nn.Module, file: Path) -> nn.Module:
    """Returns the module in evaluation mode.

    Raises:
        UserError: a weight of it is NaN or infinite.
    """
    for name, weight in module.state_dict().items():
        if not torch.isfinite(weight).all():
            raise UserError(f"{file}: {name} holds numbers that are not finite; take another checkpoint")
    return module.eval()


def load_pretrained(task: str) -> nn.Module:
    """Loads the trained fusion module of a task that comes along with the package, in evaluation mode on the CPU.

    Args:
        task: IVIF, MIF, MFIF or MEIF.

    Raises:
        UserError: there is no such task, no module of it comes along, or its files are damaged.

    >>> load_pretrained("XVIF")
    Traceback (most recent call last):
    refusion.errors.UserError: there is no fusion task 'XVIF': choose from IVIF, MIF, MFIF, MEIF
    """
    return load_module(shipped_folder(task))


def _module_of(settings: Path, trust_code: bool | Collection[str]) -> nn.Module:
    """Builds the fusion module that a checkpoint's settings describe, with arbitrary weights."""
    try:
        network = yaml.safe_load(settings.read_text(encoding="utf-8"))["network"]
        kind, options = network.get("kind", BUILTIN_NETWORK), dict(network.get("options") or {})
        if kind == BUILTIN_NETWORK:
            sizes = {name: int(network[name]) for name in ("width", "heads", "blocks", "expansion")}
            return build_fusion(BUILTIN_NETWORK, {}, {**sizes, "output": network.get("output", "image")})
        if not (isinstance(kind, str) and is_import_path(kind)):
            raise ValueError(f"network.kind {kind!r} is no import path")
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        described = "network: width, heads, blocks and expansion, or kind: module:Class"
        raise UserError(
            f"{settings}: does not describe a fusion module ({described}); is it a checkpoint's?"
        ) from error
    refuse_untrusted(kind, f"{settings}: its network", trust_code)
    return build_fusion(kind, {str(name): value for name, value in options.items()}, {})


def fuse_luminance(module: nn.Module, sources: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Fuses luminance (2, H, W) in [0, 1] to (H, W) in (0, 1) at full size, on the module's device.

    Raises:
        UserError: the result is not finite.
    """
    inputs = torch.from_numpy(sources)[None].to(next(module.parameters()).device)
    fused: npt.NDArray[np.float32] = fuse_sources(module, inputs)[0, 0].cpu().numpy()
    if not np.isfinite(fused).all():
        raise UserError("the module makes numbers of it that are not finite; take another checkpoint")
    return fused


def fuse_sources(module: nn.Module, sources: torch.Tensor) -> torch.Tensor:
    """Fuses (B, 2, H, W) in [0, 1] at full size; a nearly flat pair with a surround that keeps the border's mark out.

    Raises:
        UserError: the module gives images of another shape.

    >>> from refusion.networks import FusionModule
    >>> fuse_sources(FusionModule(width=8, blocks=1), torch.rand(1, 2, 15, 21)).shape
    torch.Size([1, 1, 15, 21])
    """
    if not all(nearly_flat(pair) for pair in sources.cpu().numpy()):
        return fuse_full_size(module, sources)
    surrounded = F.pad(sources, (_SURROUND,) * 4, mode="replicate")
    return fuse_full_size(module, surrounded)[..., _SURROUND:-_SURROUND, _SURROUND:-_SURROUND]


def fuse_pair(module: nn.Module, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Fuses two registered images as the published inference does (docs/method.md, "The published network").

    The steps: luminance of both, one forward pass at full size, min–max stretch to 0–255; chroma by the rule of
    ``tasks.Task``. A pair of which neither source spans more than 8 of 255 grey levels is not stretched, and stays
    within the sources' values.

    Args:
        module: maps (B,2,H,W) in [0, 1] to (B,1,H,W); its device does the work.
        a, b: (H, W) grey or (H, W, 3) RGB, 0–255, uint8 or float; of one size.

    Returns:
        uint8, (H, W) where neither has colour, else (H, W, 3).

    Raises:
        UserError: the sizes differ, or the fused image is not finite.

    Example:
        >>> import numpy as np
        >>> from refusion.networks import FusionModule
        >>> a, b = np.zeros((24, 32), np.uint8), np.full((24, 32, 3), 90, np.uint8)
        >>> fused = fuse_pair(FusionModule(width=8, blocks=1), a, b)
        >>> fused.shape, fused.dtype
        ((24, 32), dtype('uint8'))
    """
    fused: npt.NDArray[np.uint8] = to_depth(fuse_exact(module, a, b), 8)  # type: ignore[assignment]
    return fused


def fuse_exact(
    module: nn.Module, a: npt.NDArray[Any], b: npt.NDArray[Any], *, stretched: bool = True, grey: bool = False
) -> npt.NDArray[np.float32]:
    """Fuses as ``fuse_pair`` does, to grey levels that are not rounded yet.

    Args:
        module, a, b: as for ``fuse_pair``.
        stretched: False leaves the module's output as it is, times 255.
        grey: True leaves colour out.

    Returns:
        float32 around 0–255, (H, W) or (H, W, 3).

    Raises:
        UserError: the sizes differ, or the module gives NaN or infinite values.
    """
    if a.shape[:2] != b.shape[:2]:
        raise UserError(f"the two sources must be of one size, but are {_size(a)} and {_size(b)} pixels")
    first, second = (image.astype(np.float32) for image in (a, b))
    sources = np.stack([luminance(first), luminance(second)])
    fused = fuse_luminance(module, sources)
    if not bool(np.isfinite(fused).all()):
        raise UserError("the module's output holds NaN or infinite values: its weights are damaged or not of this task")
    levels = _levels(fused, sources, stretched)
    return levels if grey else restore_colour_exact(levels, first, second)


def as_picture(
    fused: npt.NDArray[np.float32], a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Returns fused luminance (H, W) in (0, 1) as the picture that is saved, and scored: stretched, with colour.

    Args:
        fused: the module's output.
        a, b: its sources as read, 0–255.
    """
    return restore_colour(_levels(fused, np.stack([luminance(a), luminance(b)]), stretched=True), a, b)


def nearly_flat(sources: npt.NDArray[np.float32]) -> bool:
    """Returns True where neither source, of (2, H, W) in [0, 1], spans more than 8 of 255 grey levels.

    >>> nearly_flat(np.zeros((2, 8, 8), np.float32)), nearly_flat(np.eye(8, dtype=np.float32)[None].repeat(2, 0))
    (True, False)
    """
    return all(float(source.max() - source.min()) * 255 <= NEARLY_CONSTANT for source in sources)


def _levels(
    fused: npt.NDArray[np.float32], sources: npt.NDArray[np.float32], stretched: bool
) -> npt.NDArray[np.float32]:
    """Returns the luminance in grey levels, stretched unless the pair is nearly flat: then within its values."""
    if nearly_flat(sources):
        return np.clip(fused, sources.min(), sources.max()) * np.float32(255)
    return stretch_exact(fused) if stretched else fused * np.float32(255)


def _size(image: npt.NDArray[Any]) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"
