"""Apply a trained fusion module to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
import yaml

from refusion.errors import UserError
from refusion.images.colour import luminance, restore_colour, stretch_exact
from refusion.networks import FusionModule, fuse_tiled, load_published

_WEIGHTS = "fusion.safetensors"


def load_module(checkpoint: str | Path) -> FusionModule:
    """The fusion module of a checkpoint, on the CPU and in evaluation mode.

    Args:
        checkpoint: a checkpoint folder of ours, the ``fusion.safetensors`` in it, or one of the authors' ``.pth``.

    Raises:
        UserError: there is no such file or folder, or it holds no fusion module.
    """
    path = Path(checkpoint).expanduser()
    if path.suffix == ".pth":
        return load_published(path).eval()
    folder = path.parent if path.name == _WEIGHTS else path
    for name in (_WEIGHTS, "settings.yaml"):
        if not (folder / name).is_file():
            raise UserError(
                f"{checkpoint}: there is no {name}; give a checkpoint folder such as RUN/IVIF/final, or a .pth file"
            )
    module = _module_of(folder / "settings.yaml")
    try:
        module.load_state_dict(safetensors.torch.load_file(str(folder / _WEIGHTS)))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{folder / _WEIGHTS}: does not hold the module that settings.yaml describes ({reason})"
        ) from error
    return module.eval()


def _module_of(settings: Path) -> FusionModule:
    """A fusion module of the sizes in a checkpoint's settings, with whatever weights."""
    try:
        network = yaml.safe_load(settings.read_text(encoding="utf-8"))["network"]
        return FusionModule(**{name: int(network[name]) for name in ("width", "heads", "blocks", "expansion")})
    except (yaml.YAMLError, KeyError, TypeError, ValueError, UserError) as error:
        sizes = "network: width, heads, blocks and expansion"
        raise UserError(f"{settings}: does not describe a fusion module ({sizes}); is it a checkpoint's?") from error


def fuse_luminance(module: FusionModule, sources: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """One forward pass at full size, where the module is: luminance (2, H, W) in [0, 1] to (H, W) in (0, 1)."""
    fed = torch.from_numpy(sources)[None].to(next(module.parameters()).device)
    fused: npt.NDArray[np.float32] = fuse_tiled(module, fed)[0, 0].cpu().numpy()
    return fused


def fuse_pair(module: FusionModule, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Fuse two registered pictures as the published inference does.

    Luminance of both, one forward pass at full size, min–max stretch to 0–255; chroma by the rule of ``tasks.Task``.

    Args:
        module: where it is, there the work is done.
        a, b: (H, W) grey or (H, W, 3) RGB, 0–255, uint8 or float; of one size.

    Returns:
        (H, W) where neither has colour, else (H, W, 3).

    Raises:
        UserError: the sizes differ.
    """
    if a.shape[:2] != b.shape[:2]:
        raise UserError(f"the two sources must be of one size, but are {_size(a)} and {_size(b)} pixels")
    first, second = (image.astype(np.float32) for image in (a, b))
    fused = fuse_luminance(module, np.stack([luminance(first), luminance(second)]))
    return restore_colour(stretch_exact(fused), first, second)


def _size(image: npt.NDArray[Any]) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"
