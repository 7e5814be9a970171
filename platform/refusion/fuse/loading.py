"""Loading of trained fusion modules from checkpoints and weight files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
import yaml
from torch import nn

from refusion.checksums import check_checksums
from refusion.config.network import BUILTIN_NETWORK
from refusion.errors import UserError
from refusion.import_path import is_import_path, refuse_untrusted
from refusion.networks.published import load_published
from refusion.networks.registry import build_fusion
from refusion.networks.weight_files import read_safetensors
from refusion.shipped import WEIGHT_SUFFIXES, shipped_folder

_WEIGHTS, _SETTINGS = "fusion.safetensors", "settings.yaml"


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
            shares = {"output": network.get("output", "image"), "even_below": network.get("even_below", 0.0)}
            return build_fusion(BUILTIN_NETWORK, {}, {**sizes, **shares})
        if not (isinstance(kind, str) and is_import_path(kind)):
            raise ValueError(f"network.kind {kind!r} is no import path")
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        described = "network: width, heads, blocks and expansion, or kind: module:Class"
        raise UserError(
            f"{settings}: does not describe a fusion module ({described}); is it a checkpoint's?"
        ) from error
    refuse_untrusted(kind, f"{settings}: its network", trust_code)
    return build_fusion(kind, {str(name): value for name, value in options.items()}, {})
