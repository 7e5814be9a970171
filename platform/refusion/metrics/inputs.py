"""Conversion of a caller's images (tensors or arrays, one image or a batch) to what the metrics take."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from refusion.errors import UserError

Image = Tensor | npt.NDArray[Any]


def as_batches(fused: Image, a: Image, b: Image) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the three images as (B,H,W) tensors of their own types, on the device of ``fused``.

    Raises:
        UserError: one is no (H,W), (H,W,3) or (B,1,H,W) array of numbers, or their shapes differ. Of RGB it is the
            luminance, Y of ITU-R BT.601, on the same 0–255.
    """
    given = {"fused": fused, "a": a, "b": b}
    tensors = {name: _as_tensor(name, image) for name, image in given.items()}
    shapes = {name: tuple(image.shape) for name, image in tensors.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UserError(f"the fused image and its sources must have one shape, but they have {listed}")
    device = tensors["fused"].device
    f, x, y = (image.to(device)[None] if image.ndim == 2 else image.to(device)[:, 0] for image in tensors.values())
    return f, x, y


def as_saved(fused: Tensor) -> Tensor:
    """Returns whole grey levels 0–255 as a file would hold them, float64; values that are not finite become NaN."""
    if fused.dtype == torch.uint8:
        return fused.double()
    fused = fused.double()
    return fused.round().clamp_(0, 255).masked_fill_(~fused.isfinite(), torch.nan)


def as_sources(a: Tensor, b: Tensor) -> Tensor:
    """Returns the sources as one (2,B,H,W) float64 tensor, values as given.

    Raises:
        UserError: values outside 0–255, or both images evidently on 0–1.
    """
    sources = torch.stack([a.double(), b.double()])
    if a.dtype == b.dtype == torch.uint8 or not sources.numel():
        return sources
    least, most = sources.amin((2, 3)), sources.amax((2, 3))
    # Half a grey level of grace: a colour conversion in float32 may overshoot by a rounding error.
    if ((least < -0.5) | (most > 255.5)).any():
        raise UserError(
            "the sources must have grey levels on 0–255, "
            f"but theirs go from {least.min():g} to {most.max():g}: rescale them"
        )
    if (most <= 1).all() and (sources != sources.round()).any():
        raise UserError("the sources look like pictures on 0–1, but metrics take grey levels on 0–255: multiply by 255")
    return sources


def _as_tensor(name: str, image: Image) -> Tensor:
    if not isinstance(image, Tensor | np.ndarray):
        raise UserError(f"image {name} is a {type(image).__name__}, but it must be a torch tensor or a NumPy array")
    if isinstance(image, np.ndarray) and image.dtype.kind in "uif":
        # A copy: torch does not take arrays that are read-only, flipped, or of the other byte order.
        image = torch.from_numpy(np.array(image, dtype="u1" if image.dtype == np.uint8 else "f8", order="C"))
    if not isinstance(image, Tensor) or image.dtype == torch.bool or image.is_complex():
        raise UserError(f"image {name} holds {image.dtype} values, but it must hold grey levels on 0–255")
    if image.ndim == 3 and image.shape[2] == 3:
        return _luminance(image)
    if image.ndim != 2 and not (image.ndim == 4 and image.shape[1] == 1):
        raise UserError(
            f"image {name} has shape {tuple(image.shape)}, but it must be grey (H, W), RGB (H, W, 3), or a batch of "
            "grey images (B, 1, H, W)"
        )
    return image


def _luminance(image: Tensor) -> Tensor:
    """Returns Y of an (H,W,3) RGB image, computed as where pictures are fused (``images.colour``)."""
    plane = cv2.cvtColor(image.cpu().numpy().astype(np.float32), cv2.COLOR_RGB2YCrCb)[..., 0]
    return torch.from_numpy(np.ascontiguousarray(plane)).to(image.device)
