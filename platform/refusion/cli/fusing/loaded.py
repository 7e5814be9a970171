"""The module that a command's options name, on its device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from refusion.cli.shared.store import upgrade_if_asked
from refusion.cli.trust import trusted_code
from refusion.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn


class Loaded(NamedTuple):
    """A fusion module, what is said of where it came from, and its checkpoint on this machine."""

    module: nn.Module
    about: str
    folder: Path


def loaded_module(options: argparse.Namespace, task: str) -> Loaded:
    """Loads what ``--checkpoint`` names onto ``--device``.

    Raises:
        UserError: there is no such device or checkpoint, or it cannot be loaded.
    """
    from refusion.ops.backend import configure
    from refusion.tracking.loading import find_checkpoint, load_module

    device = device_of(options.device)
    trusted = trusted_code(options)
    upgrade_if_asked(options.upgrade_store, options.tracking_uri)
    found = find_checkpoint(options.checkpoint, task, options.tracking_uri)
    module = load_module(found.folder, trust_code=trusted).to(device)
    configure(device)
    return Loaded(module, found.about, found.folder)


def device_of(name: str) -> torch.device:
    """Returns the device that ``--device`` names.

    Raises:
        UserError: there is none of that name, or no CUDA device.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: choose cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: there is no CUDA device on this machine")
    return device
