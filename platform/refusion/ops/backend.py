"""Half the bytes for what is wide: the maps between a part's convolutions in bfloat16, where it is wanted.

Everything that is added up over many terms stays in float32: parameters and their vectors, the maps between parts,
norms, the sums that attention is made of, losses. So does every forward pass by `in_strips`.
"""

from __future__ import annotations

import torch


class _Choice:
    """Of this process, as its number of threads is."""

    bfloat16 = False


def use_bfloat16(wanted: bool, device: torch.device | None = None) -> str | None:
    """From now on, whether wide maps of float32 networks are bfloat16.

    Args:
        device: where they will be; the CPU unless given.

    Returns:
        Why they will not be although it is wanted, in one line; None if all is as wished.
    """
    reason = _why_not(device or torch.device("cpu")) if wanted else None
    _Choice.bfloat16 = wanted and reason is None
    return reason


def narrow(x: torch.Tensor) -> torch.Tensor:
    """In bfloat16, if float32 is to be so. Can be differentiated."""
    return x.to(torch.bfloat16) if _Choice.bfloat16 and x.dtype == torch.float32 else x


def full(x: torch.Tensor) -> torch.Tensor:
    """In float32, if it is bfloat16. Can be differentiated."""
    return x.to(torch.float32) if x.dtype == torch.bfloat16 else x


def _why_not(device: torch.device) -> str | None:
    if device.type == "cuda":
        fast, name = torch.cuda.is_bf16_supported(including_emulation=False), "GPU"
    else:
        fast, name = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(), "CPU"
    return None if fast else f"this {name} computes in bfloat16 no faster than in float32"
