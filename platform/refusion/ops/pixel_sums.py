"""Sums over the pixels of channels-last maps, (B, HW, C): lengths and products of their channels."""

from __future__ import annotations

import torch

from refusion.ops.backend import runs_on_gpu

PIXELS_AT_ONCE = 1 << 14
_PIXELS_OF_A_PART = 128


def over_pixels(x: torch.Tensor, width: int) -> torch.Tensor:
    """Sum of (B, HW, C) to (B, C), row by row: added one by one, half a million float32 would be off by 1e-5."""
    # A GPU adds in a tree by itself, and each further kernel takes its time.
    total: torch.Tensor = x.sum(dim=1) if runs_on_gpu(x) else x.unflatten(1, (-1, width)).sum(dim=2).sum(dim=1)
    return total


def gram(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Gram matrix qᵀk, (B, C, C); in large images over some pixels at a time, for the same reason."""
    if runs_on_gpu(q):
        return gram_in_parts(q, k)
    chunks = zip(q.split(PIXELS_AT_ONCE, dim=1), k.split(PIXELS_AT_ONCE, dim=1), strict=True)
    return torch.stack([some_q.transpose(1, 2) @ some_k for some_q, some_k in chunks]).sum(dim=0)


def product_over_pixels(grad: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """gradᵀv, (B, outputs, C), the gradient in the matrix that v is multiplied by."""
    return gram_in_parts(grad, v) if runs_on_gpu(grad) else grad.transpose(1, 2) @ v


def gram_in_parts(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """The same as many small products side by side: one long sum to a small matrix leaves most of a GPU idle."""
    pixels = q.shape[1]
    parts = max(1, pixels // _PIXELS_OF_A_PART)
    even = parts * (pixels // parts)
    some_q, some_k = (maps[:, :even].unflatten(1, (parts, -1)) for maps in (q, k))
    total: torch.Tensor = (some_q.transpose(2, 3) @ some_k).sum(dim=1)
    return total if even == pixels else total + q[:, even:].transpose(1, 2) @ k[:, even:]
