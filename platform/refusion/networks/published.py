"""Reads fusion modules from weight files: the authors' released ones (ReFusion_IVIF.pth, …), and ours by themselves.

In the authors' files each convolution's weight has two names, `X.weight` and `X.conv.weight`. The network's sizes are
read off the shapes.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from refusion.config.network import Output
from refusion.errors import UserError
from refusion.networks.fusion import FusionModule
from refusion.networks.weight_files import Weights, named, read_tensors, state_dicts, without_prefix

_FIRST, _FUSING, _LAST = "project_in_1.weight", "FM.qkv1.weight", "project_out_1.weight"
_EVEN_BELOW = "even_below"
# A tensor that no other has, and what it is of.
_OTHER_MODULES = {"body.0.attn.temperature": "its reconstruction module"}


def load_published(path: str | Path) -> FusionModule:
    """The fusion module with the weights of one file, on the CPU, in float32 and in evaluation mode.

    The file is one of the authors' or any other with the same tensors, of PyTorch or safetensors: within mappings such
    as `state_dict`, `model`, `net`, `params`; with what wrappers put before names; of half or double precision.

    Raises:
        UserError: the file is missing, is no file of weights (the sentence says what it is), or holds another network.
    """
    path = Path(path)
    content = read_tensors(path)
    found = [without_prefix(weights, _FIRST) for weights in state_dicts(content)]
    if not found:
        held = f"a {type(content).__name__} without tensors by name"
        raise _another_network(path, held)
    weights = _without_copies(next((one for one in found if _FIRST in one), found[0]), path)
    module = _module_of_same_size(weights, path)
    module.load_state_dict(weights)
    return module.eval()


def _without_copies(weights: Weights, path: Path) -> Weights:
    weights_once = {name: value for name, value in weights.items() if not name.endswith(".conv.weight")}
    for name in weights.keys() - weights_once.keys():
        twin = weights_once.setdefault(name.replace(".conv.weight", ".weight"), weights[name])
        if not torch.equal(twin, weights[name]):
            raise UserError(f"{path}: is damaged: the two copies of {name} differ; download the file again")
    return weights_once


def _module_of_same_size(weights: Weights, path: Path) -> FusionModule:
    try:
        width = weights[_FIRST].shape[0]
        heads = weights["encoder1.0.attn.temperature"].shape[0]
        hidden = weights["encoder1.0.ffn.project_out.weight"].shape[1]
        blocks = sum(re.fullmatch(r"encoder1\.\d+\.attn\.temperature", name) is not None for name in weights)
        output: Output = "mixture" if weights[_LAST].shape[0] > 1 else "image"
        even_below = float(weights[_EVEN_BELOW]) if _EVEN_BELOW in weights else 0.0
        sizes = (width, heads, blocks, hidden // width, output, even_below)
        # On no device: shapes that do not go together are found before any memory is asked for.
        with torch.device("meta"):
            expected = {name: value.shape for name, value in FusionModule(*sizes).state_dict().items()}
    except (KeyError, IndexError, UserError, ValueError, ZeroDivisionError) as error:
        raise _another_network(path, _held(weights)) from error
    if expected != {name: value.shape for name, value in weights.items()}:
        raise _another_network(path, _held(weights))
    return FusionModule(*sizes)


def _held(weights: Weights) -> str:
    """Returns what the weights are of, as far as their names say."""
    for name, what in _OTHER_MODULES.items():
        if name in weights:
            return f"{what} ({named(weights)})"
    if _FIRST in weights and _FUSING not in weights:
        return f"its loss proposal module, or a part of a network ({named(weights)})"
    return f"another network's {named(weights)}"


def _another_network(path: Path, held: str) -> UserError:
    return UserError(
        f"{path}: does not hold a fusion network of ReFusion, but {held}: give one of the authors' .pth files, or a "
        "checkpoint's fusion.safetensors"
    )
