"""Modules that the page offers: the one that comes along, runs of the local store, and what the user names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import nn

from refusion.adapt import load_learned_loss
from refusion.errors import UserError
from refusion.fuse import load_module
from refusion.home import refusion_home
from refusion.shipped import FUSION_FILE, LOSS_PROPOSAL_FILE, PRETRAINED, SETTINGS_FILE, shipped_tasks
from refusion.tracking.loading import find_checkpoint

# Checkpoints of a task's folder in a run, the one to be preferred first.
_KINDS = ("best", "final")
_MOST_RUNS = 50
_KEPT_MODULES = 4


@dataclass(frozen=True)
class Chosen:
    """A fusion module as it was chosen.

    Attributes:
        fusion: in evaluation mode, on the CPU.
        loss_proposal: that of the same training; None where its checkpoint has none.
        about: in words, which module it is.
    """

    fusion: nn.Module
    loss_proposal: nn.Module | None
    about: str


def offered(task: str, named: Mapping[str, str]) -> dict[str, str]:
    """Returns what can be chosen for a task: from its name in the page to what ``--checkpoint`` takes.

    Args:
        task: name of the fusion task.
        named: modules that the command line adds, for every task.
    """
    found = {PRETRAINED: PRETRAINED} if task in shipped_tasks() else {}
    return {**found, **named, **_of_runs(task)}


def choose(checkpoint: str, task: str, trusted: bool | Collection[str] = False) -> Chosen:
    """Loads a module, and with it the loss proposal module of its training where there is one.

    Args:
        checkpoint: as ``--checkpoint`` takes it.
        task: name of the fusion task.
        trusted: as for `refusion.fuse.load_module`.

    Raises:
        UserError: there is no such module, or it names code that is not trusted.
    """
    text = checkpoint.strip()
    if not text:
        raise UserError("choose a module, or give the path of one")
    found = find_checkpoint(text, task)
    folder = found.folder.expanduser()
    names = trusted if isinstance(trusted, bool) else tuple(trusted)
    fusion, loss_proposal = _load(str(folder), task, names, _age(folder))
    return Chosen(fusion, loss_proposal, found.about)


@lru_cache(maxsize=_KEPT_MODULES)
def _load(
    folder: str,
    task: str,
    trusted: bool | tuple[str, ...],
    age: float,  # noqa: ARG001 - a checkpoint that a run has replaced is another
) -> tuple[nn.Module, nn.Module | None]:
    fusion = load_module(folder, trust_code=trusted)
    beside = Path(folder).parent if Path(folder).name == FUSION_FILE else Path(folder)
    if not all((beside / name).is_file() for name in (LOSS_PROPOSAL_FILE, SETTINGS_FILE)):
        return fusion, None
    return fusion, load_learned_loss(beside, task, trust_code=trusted).proposal


def _age(folder: Path) -> float:
    file = folder / FUSION_FILE if folder.is_dir() else folder
    return file.stat().st_mtime if file.is_file() else 0.0


def _of_runs(task: str) -> dict[str, str]:
    """Returns the checkpoints of the task in the local runs, the newest run first."""
    of_task = [folder for folder in (refusion_home() / "runs").glob(f"*/{task}") if folder.is_dir()]
    newest = sorted(of_task, key=lambda folder: folder.stat().st_mtime, reverse=True)[:_MOST_RUNS]
    return {
        f"run {folder.parent.name} · {kind}": str(folder / kind)
        for folder in newest
        for kind in _KINDS
        if (folder / kind / FUSION_FILE).is_file()
    }
