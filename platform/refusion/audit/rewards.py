"""Rewards by the names that the command line gives them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from refusion.errors import UserError
from refusion.import_path import is_import_path, resolve
from refusion.meta.objective import REWARDS
from refusion.networks.registry import foreign_code
from refusion.objectives import Reward

BUILTIN: Mapping[str, Reward] = REWARDS

_OPTION = "reward"
_SIDE = 32


@dataclass(frozen=True)
class NamedReward:
    """A reward, small enough to be sent to every worker.

    Attributes:
        name: published, salient, detail, or the import path of a function.
        folder: the folder in which its module is found, where it is a user's.
    """

    name: str
    folder: str | None = None

    def load(self) -> Reward:
        """Returns the function.

        Raises:
            UserError: it cannot be imported.
        """
        if self.name in BUILTIN:
            return BUILTIN[self.name]
        if self.folder is not None and self.folder not in sys.path:
            # Last, so that a file of the user's hides no module that others import.
            sys.path.append(self.folder)
        function: Reward = resolve(self.name, _OPTION)
        return function


def find_reward(name: str) -> NamedReward:
    """Finds a reward and tries it on a small batch.

    Raises:
        UserError: there is no such reward, or it gives no scalar with a gradient.
    """
    if name in BUILTIN:
        return NamedReward(name)
    if not is_import_path(name):
        raise UserError(f"--reward {name}: choose from {', '.join(BUILTIN)}, or name a function as module:function")
    function = NamedReward(name).load()
    sources = torch.linspace(0, 1, 2 * _SIDE * _SIDE).view(1, 2, _SIDE, _SIDE)
    rebuilt = sources.flip(3).requires_grad_()
    with foreign_code(f"--reward {name}: fails on a batch (1, 2, {_SIDE}, {_SIDE})"):
        loss = function(rebuilt, sources)
    if not (isinstance(loss, torch.Tensor) and loss.ndim == 0 and loss.requires_grad and torch.isfinite(loss)):
        raise UserError(f"--reward {name}: must return a finite scalar tensor that depends on the rebuilt sources")
    file = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    depth = name.partition(":")[0].count(".")
    return NamedReward(name, None if file is None else str(_root(Path(file).resolve(), depth)))


def _root(file: Path, depth: int) -> Path:
    """Returns the folder that the outermost package of a module lies in."""
    return file.parents[depth + (file.name == "__init__.py")]
