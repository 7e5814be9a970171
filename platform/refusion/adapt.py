"""Adapting a trained fusion module to the pictures that it is to fuse: the learned loss needs no ground truth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from refusion.config.network import BUILTIN_NETWORK
from refusion.config.objective import PUBLISHED
from refusion.config.per_epoch import at
from refusion.config.presets import recorded_settings
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.images.crops import plan_fusion
from refusion.images.pairs import Pair
from refusion.images.store import PairStore
from refusion.import_path import refuse_untrusted
from refusion.meta.objective import loss_at
from refusion.meta.phases import doubled
from refusion.meta.state import TrainingState
from refusion.networks.fusion import FusionModule
from refusion.networks.weight_files import read_safetensors
from refusion.objectives import Loss
from refusion.ops.backend import float32_as_configured
from refusion.shipped import FUSION_FILE, LOSS_PROPOSAL_FILE, SETTINGS_FILE

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class LearnedLoss:
    """Fusion loss that a training has learned: P, the loss that P's weights go into, and the training's settings."""

    proposal: nn.Module
    loss: Loss
    settings: Settings


@dataclass(frozen=True)
class Adaptation:
    """Adaptation of a module to pairs: crops and batches as in its training.

    Attributes:
        learned: loss that is lowered.
        task: name of the fusion task, which with the training's seed fixes the crops.
        steps: number of Adam steps.
        rate: of each.
    """

    learned: LearnedLoss
    task: str
    steps: int
    rate: float

    def to_pairs(
        self, module: nn.Module, pairs: Sequence[Pair], on_step: OnStep = lambda _done, _of: None
    ) -> nn.Module:
        """Returns a copy of ``module``, on its device, adapted to the pairs; ``on_step`` is called with (done, of)."""
        device = next(module.parameters()).device
        proposal = copy.deepcopy(self.learned.proposal).to(device)
        batches = (batch.to(device) for batch in self._batches_of(pairs))
        done = iter(range(1, self.steps + 1))
        return adapt(
            module, proposal, self.learned.loss, batches, self.rate, on_step=lambda _: on_step(next(done), self.steps)
        )

    def _batches_of(self, pairs: Sequence[Pair]) -> Iterator[Tensor]:
        store = PairStore(pairs)
        images, seed = self.learned.settings.images, self.learned.settings.seed
        crop = at(images.crop, self.learned.settings.schedule.epochs - 1)
        for step in range(self.steps):
            plans = plan_fusion(seed, self.task, step, range(images.batch), images.batch, len(store))
            yield doubled(torch.from_numpy(store.batch(plans, crop)), images.swap)[0]


def adapt(
    module: nn.Module,
    loss_proposal: nn.Module,
    loss: Loss,
    batches: Iterable[Tensor],
    rate: float,
    *,
    on_step: Callable[[float], None] = lambda _: None,
) -> nn.Module:
    """Takes one Adam step of F on L_f per batch, with the weights that P proposes; P stays as it is.

    Args:
        module: F, left as it is.
        loss_proposal: P, on the same device.
        loss: L_f.
        batches: (B, 2, H, W) each, sources in [0, 1], on that device.
        rate: of Adam.
        on_step: called after each step with the loss before it.

    Returns:
        The adapted copy of F.

    Example:
        >>> from refusion.networks import FusionModule, LossProposalModule
        >>> from refusion.objectives import FusionLoss
        >>> fusion, proposal = FusionModule(width=8, blocks=1).eval(), LossProposalModule(width=8, blocks=1).eval()
        >>> adapted = adapt(fusion, proposal, FusionLoss(), [torch.rand(1, 2, 16, 16)], rate=1e-3)
        >>> torch.equal(adapted.project_in_1.weight, fusion.project_in_1.weight)
        False
    """
    adapted = copy.deepcopy(module)
    if isinstance(adapted, FusionModule):
        adapted.train()
    parameters = list(adapted.parameters())
    adam = torch.optim.Adam(parameters, lr=rate)
    device = next(iter(parameters)).device
    with float32_as_configured(device):
        for sources in batches:
            with torch.no_grad():
                weights = loss_proposal(sources)
            value = loss(adapted(sources), sources, weights)
            gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            adam.step()
            on_step(float(value.detach()))
    adam.zero_grad(set_to_none=True)
    if isinstance(adapted, FusionModule):
        adapted.train(module.training)
    return adapted


def load_learned_loss(checkpoint: str | Path, task: str, *, trust_code: bool | Collection[str] = False) -> LearnedLoss:
    """Loads P and the fusion loss of a checkpoint's last epoch, on the CPU.

    Args:
        checkpoint: a folder on this machine, or the ``fusion.safetensors`` in it.
        task: name of the fusion task.
        trust_code: permission to run code from outside of this package that its settings name, as for `load_module`.

    Raises:
        UserError: the checkpoint has no P, its files do not go together, or it names code that is not trusted.

    >>> load_learned_loss("ReFusion_IVIF.pth", "IVIF")
    Traceback (most recent call last):
    refusion.errors.UserError: --adapt: ReFusion_IVIF.pth has no loss_proposal.safetensors, so no loss to adapt by; ...
    """
    path = Path(checkpoint).expanduser()
    folder = path.parent if path.name == FUSION_FILE else path
    if not (folder / LOSS_PROPOSAL_FILE).is_file() or not (folder / SETTINGS_FILE).is_file():
        raise UserError(
            f"--adapt: {checkpoint} has no {LOSS_PROPOSAL_FILE}, so no loss to adapt by; give a checkpoint folder of a "
            "training, such as RUN/IVIF/best"
        )
    settings = _settings(folder / SETTINGS_FILE)
    for name, kind in (
        ("network.loss_proposal_kind", settings.network.loss_proposal_kind),
        ("objective.kind", settings.objective.kind),
    ):
        if kind not in (BUILTIN_NETWORK, PUBLISHED):
            refuse_untrusted(kind, f"{folder / SETTINGS_FILE}: its {name}", trust_code)
    # Only P is wanted: F and R of the user's own need not be made, and no start read.
    network = {"kind": BUILTIN_NETWORK, "reconstruction_kind": BUILTIN_NETWORK, "start": "random"}
    built = settings.model_copy(update={"network": settings.network.model_copy(update=network)})
    proposal = TrainingState(built, task).loss_proposal
    try:
        proposal.load_state_dict(read_safetensors(folder / LOSS_PROPOSAL_FILE))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder / LOSS_PROPOSAL_FILE}: does not hold the module that {SETTINGS_FILE} describes ({reason})"
        ) from error
    epochs = settings.schedule.epochs
    return LearnedLoss(proposal.eval(), loss_at(settings.objective, epochs - 1, epochs), settings)


def _settings(file: Path) -> Settings:
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        return recorded_settings(content)
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise UserError(f"{file}: cannot be read as a checkpoint's settings ({error})") from error
