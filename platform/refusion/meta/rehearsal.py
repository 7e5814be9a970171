"""Trial of a user's own loss, reward and networks before a training begins, so that a failure comes at once."""

from __future__ import annotations

import torch

from refusion.config.per_epoch import at, starts
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.meta.functional import flatten
from refusion.meta.metagradient import meta_gradient
from refusion.meta.objective import check_objective, loss_at, reward_of
from refusion.meta.state import TrainingState
from refusion.networks.probes import notes
from refusion.networks.registry import Modules, foreign_code, foreign_kinds
from refusion.shipped import PRETRAINED

# Of two steps, so that the way through the Hessian is gone too.
_RATES = (1e-4, 1e-4)


def rehearse(settings: Settings) -> list[str]:
    """Tries out the user's loss and reward, and one meta-gradient of the user's networks; nothing of the built-in ones.

    Where a training begins with the modules that come along, finds out whether they fit.

    Returns:
        Notes about the classes of networks, one sentence each.

    Raises:
        UserError: a function or a class cannot be imported or made, does not do what its place asks for
            (`meta.objective`, `networks.probes`), or cannot be differentiated as often as the meta-gradient needs.
    """
    objective, epochs = settings.objective, settings.schedule.epochs
    check_objective(settings)
    kinds = foreign_kinds(settings.network)
    if settings.network.start == PRETRAINED:
        for task in settings.tasks:
            TrainingState(settings, task)
    if not kinds:
        return []
    state = TrainingState(settings, settings.tasks[0])
    modules = Modules(state.fusion, state.loss_proposal, state.reconstruction)
    named = ", ".join(f"--{setting} {kind}" for setting, kind in kinds.items())
    crop = min(at(settings.images.crop, epoch) for epoch in starts(settings.images.crop))
    generator = torch.Generator().manual_seed(settings.seed % 2**32)
    images = torch.rand(len(_RATES) + 1, 1, 2, crop, crop, generator=generator)
    loss, reward = loss_at(objective, 0, epochs), reward_of(objective)
    with foreign_code(f"{named}: a meta-gradient on crops of {crop} pixels fails"):
        found = meta_gradient(*modules, images[:-1], images[-1], _RATES, loss=loss, reward=reward)
    if not torch.isfinite(flatten(found)).all():
        raise UserError(f"{named}: the meta-gradient has values that are not finite on crops of {crop} pixels")
    return notes(modules, settings.network)
