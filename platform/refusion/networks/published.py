"""Reads the authors' released weight files (ReFusion_IVIF.pth, …).

In the files each convolution's weight has two names, `X.weight` and `X.conv.weight`; a file saved from a
parallel wrapper has `module.` before every name. The network's sizes are read off the shapes.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch

from refusion.errors import UserError
from refusion.networks.fusion import FusionModule


def load_published(path: str | Path) -> FusionModule:
    """The fusion module with the weights of one of the authors' `.pth` files, on the CPU, in evaluation mode.

    Raises:
        UserError: the file is missing, is not a file of tensors, or holds another network.
    """
    path = Path(path)
    weights = _without_copies(_read_tensors(path), path)
    module = _module_of_same_size(weights, path)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise _another_network(path) from error
    return module.eval()


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise UserError(f"there is no weight file {path}: give the path of one of the authors' .pth files")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path} cannot be read as a weight file: give one of the authors' .pth files") from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise _another_network(path)
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _without_copies(weights: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    weights_once = {name: value for name, value in weights.items() if not name.endswith(".conv.weight")}
    for name in weights.keys() - weights_once.keys():
        twin = weights_once.setdefault(name.replace(".conv.weight", ".weight"), weights[name])
        if not torch.equal(twin, weights[name]):
            raise UserError(f"{path} is damaged: the two copies of {name} differ; download the file again")
    return weights_once


def _module_of_same_size(weights: dict[str, torch.Tensor], path: Path) -> FusionModule:
    try:
        width = weights["project_in_1.weight"].shape[0]
        heads = weights["encoder1.0.attn.temperature"].shape[0]
        hidden = weights["encoder1.0.ffn.project_out.weight"].shape[1]
        blocks = sum(re.fullmatch(r"encoder1\.\d+\.attn\.temperature", name) is not None for name in weights)
        return FusionModule(width, heads, blocks, hidden // width)
    except (KeyError, IndexError, UserError, ZeroDivisionError) as error:
        raise _another_network(path) from error


def _another_network(path: Path) -> UserError:
    return UserError(f"{path} does not hold a fusion network of ReFusion: give one of the authors' .pth files")
