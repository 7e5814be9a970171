"""The loss and the reward that settings name: the published ones, or functions of the user's by import path."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from refusion.config.objective import DETAIL, PUBLISHED, SALIENT, ObjectiveSettings
from refusion.config.per_epoch import at
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.import_path import resolve
from refusion.objectives import UNLEARNED, FusionLoss, FusionWeights, Loss, Reward, reconstruction_loss
from refusion.rewards import detail_reward, salient_reward

REWARDS: dict[str, Reward] = {PUBLISHED: reconstruction_loss, SALIENT: salient_reward, DETAIL: detail_reward}
"""Rewards by the names that `objective.reward` takes for them."""

_PAIRS, _SIDE = 2, 16


def loss_at(objective: ObjectiveSettings, epoch: int, epochs: int) -> Loss:
    """Returns the fusion loss of that epoch (0-based), with α and β as they are then.

    A function of the user's is given ``alpha`` and ``beta`` as keywords where its signature has them.

    Raises:
        UserError: there is no such function.
    """
    coefficients = {"alpha": at(objective.alpha, epoch), "beta": objective.beta_at(epoch, epochs)}
    if objective.kind == PUBLISHED:
        return FusionLoss(**coefficients, gradient=objective.gradient, weighting=objective.weighting)
    function = resolve(objective.kind, "objective.kind")
    names = inspect.signature(function).parameters
    return partial(function, **{name: value for name, value in coefficients.items() if name in names})


def reward_of(objective: ObjectiveSettings) -> Reward:
    """Returns the reconstruction loss.

    Raises:
        UserError: there is no such function.
    """
    if objective.reward in REWARDS:
        return REWARDS[objective.reward]
    function: Reward = resolve(objective.reward, "objective.reward")
    return function


def check_objective(settings: Settings) -> None:
    """Calls functions of the user's once on a tiny batch, and takes the derivatives that training takes.

    Raises:
        UserError: names the setting, and says what is wrong with its function.
    """
    objective = settings.objective
    if objective.kind != PUBLISHED:
        where = f"--objective.kind {objective.kind}"
        _check_loss(loss_at(objective, 0, settings.schedule.epochs), where, settings)
    if objective.reward not in REWARDS:
        _check_reward(reward_of(objective), f"--objective.reward {objective.reward}")


def _check_loss(loss: Loss, where: str, settings: Settings) -> None:
    fused, sources = _images(1).requires_grad_(), _images(2)
    pairs = [_images(2).softmax(dim=1).requires_grad_() for _ in range(2)]
    if settings.objective.gradient == UNLEARNED:
        pairs.pop()
    weights = FusionWeights(pairs[0], pairs[1] if len(pairs) == 2 else None)
    given = f"fused {tuple(fused.shape)}, sources {tuple(sources.shape)} and the weights"
    value = _scalar(lambda: loss(fused, sources, weights), where, given)
    grad = _gradient(value, fused, where, "the fused image")
    mixed: list[torch.Tensor | None] = []
    if grad.requires_grad:
        try:
            mixed += torch.autograd.grad(grad.sum(), [*pairs, fused], allow_unused=True)[: len(pairs)]
        except RuntimeError as error:
            raise UserError(f"{where}: cannot be differentiated twice ({_text(error)})") from error
    if settings.schedule.meta_iterations and all(part is None for part in mixed):
        raise UserError(
            f"{where}: its gradient in the fused image does not depend on the weights, so nothing is left for the "
            "loss proposal module to learn; let weights.intensity or weights.gradient scale it, or set "
            "--schedule.meta_iterations 0"
        )


def _check_reward(reward: Reward, where: str) -> None:
    rebuilt, sources = _images(2).requires_grad_(), _images(2)
    given = f"rebuilt and sources, each {tuple(sources.shape)}"
    _gradient(_scalar(lambda: reward(rebuilt, sources), where, given), rebuilt, where, "the rebuilt sources")


def _images(channels: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(channels)
    return torch.rand(_PAIRS, channels, _SIDE, _SIDE, generator=draw)


def _scalar(call: Callable[[], Any], where: str, given: str) -> torch.Tensor:
    """Returns the function's value for the arguments that ``given`` describes, if it is a finite scalar."""
    try:
        with torch.enable_grad():
            value = call()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {_text(error)} ({last.filename}, line {last.lineno})"
        raise UserError(f"{where}: fails for {given} with {what}") from error
    if not isinstance(value, torch.Tensor):
        raise UserError(f"{where}: returns {type(value).__name__} for {given}; return a scalar tensor")
    if value.shape != ():
        raise UserError(
            f"{where}: returns a tensor of shape {tuple(value.shape)} for {given}; return a scalar, such as its mean"
        )
    if not torch.isfinite(value):
        raise UserError(f"{where}: returns {float(value.detach())} for {given} in [0, 1]; return a finite number")
    return value


def _gradient(value: torch.Tensor, variable: torch.Tensor, where: str, of: str) -> torch.Tensor:
    grad = None
    if value.requires_grad:
        try:
            (grad,) = torch.autograd.grad(value, variable, create_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise UserError(f"{where}: cannot be differentiated ({_text(error)})") from error
    if grad is None:
        raise UserError(f"{where}: does not depend on {of} in a way that can be differentiated; compute it with torch")
    if not torch.isfinite(grad).all():
        raise UserError(f"{where}: its gradient in {of} is not finite for images in [0, 1]")
    return grad


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
