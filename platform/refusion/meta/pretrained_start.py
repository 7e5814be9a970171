"""Start of a training from the modules that come along with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from torch import nn

from refusion.config.network import BUILTIN_NETWORK, NetworkSettings
from refusion.errors import UserError
from refusion.networks.weight_files import read_safetensors
from refusion.shipped import FUSION_FILE, LOSS_PROPOSAL_FILE, SETTINGS_FILE, shipped_folder

# Those that F and P are made in; a file that does not name its output is of the published kind.
_SIZES = {"width": None, "heads": None, "blocks": None, "expansion": None, "output": "image", "even_below": 0.0}


def start_from_shipped(fusion: nn.Module, loss_proposal: nn.Module, network: NetworkSettings, task: str) -> None:
    """Puts the weights of the task's shipped modules into F and, where it comes along and is the built-in one, into P.

    Raises:
        UserError: no module of the task comes along, or it does not fit the settings.
    """
    folder = shipped_folder(task)
    if network.kind != BUILTIN_NETWORK:
        raise UserError(
            "--network.start pretrained: what comes along is the built-in network; "
            f"leave --network.kind {network.kind} out"
        )
    shipped: dict[str, Any] = yaml.safe_load((folder / SETTINGS_FILE).read_text(encoding="utf-8"))["network"]
    sizes = {name: shipped.get(name, default) for name, default in _SIZES.items()}
    needed = [f"--network.{name} {size}" for name, size in sizes.items() if size != getattr(network, name)]
    if needed:
        raise UserError(
            f"--network.start pretrained: the module of {task} that comes along has other sizes; "
            f"give {' '.join(needed)}"
        )
    _fill(fusion, folder / FUSION_FILE, task)
    if (folder / LOSS_PROPOSAL_FILE).is_file() and network.loss_proposal_kind == BUILTIN_NETWORK:
        _fill(loss_proposal, folder / LOSS_PROPOSAL_FILE, task)


def _fill(module: nn.Module, file: Path, task: str) -> None:
    try:
        module.load_state_dict(read_safetensors(file))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"--network.start pretrained: {file.name} of {task} does not fit these settings ({reason}); "
            f"give network and objective as {file.with_name(SETTINGS_FILE)} has them"
        ) from error
