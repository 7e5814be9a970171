"""State that a resume goes on from: the three modules, their optimisers and the counters."""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from refusion.config.per_epoch import at, starts
from refusion.config.settings import Settings
from refusion.meta.adam import load_adam, rated_adam
from refusion.meta.outer import OuterOptimiser
from refusion.meta.pretrained_start import start_from_shipped
from refusion.networks.fusion import FusionModule
from refusion.networks.probes import check_modules
from refusion.networks.registry import build_modules
from refusion.objectives import UNLEARNED
from refusion.shipped import PRETRAINED

# The generators are the process's, in which several trainings may begin at once.
_SEEDING = threading.Lock()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the generators that a module may draw its weights from, and puts them back."""
    with _SEEDING, torch.random.fork_rng(devices=[]):
        python, numpy = random.getstate(), np.random.get_state()
        # Not `torch.manual_seed`, which reaches for GPUs too: another training of this process may be capturing there.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


class TrainingState:
    """F, P and R with their optimisers, and the progress of the training.

    Args:
        settings: kinds and sizes of the modules, kind of outer step, seed.
        task: name of the fusion task; with the seed it fixes the initial weights.
        device: where the modules live.

    Attributes:
        epoch: finished epochs.
        meta_steps: finished meta-iterations, over all epochs.
        fusion_steps: finished fusion updates, over all epochs.
        epoch_start: meta-iterations and fusion updates that were finished when the present epoch began.
        within: sums over the present epoch so far, as plain values and tensors; empty between two epochs.
        skipped: steps that were left out in finished epochs, since their loss or gradient was not finite.
        best_score: best validation score so far on as many pairs as the last validation, None before the first.
        validated_digest: of those pairs, as a number, None before the first validation.
        validated_pairs: how many pairs the last validation measured, None before the first.
    """

    def __init__(self, settings: Settings, task: str, device: torch.device | str = "cpu") -> None:
        # The caller's random numbers stay what they were; the weights depend on seed and task alone.
        with _seeded(settings.seed ^ zlib.crc32(task.encode())):
            objective = settings.objective
            modules = build_modules(settings.network, objective.gradient != UNLEARNED, objective.learned_weights)
        if settings.network.start == PRETRAINED:
            start_from_shipped(modules.fusion, modules.loss_proposal, settings.network, task)
        crop = settings.images.crop
        crops = {at(crop, epoch) for epoch in starts(crop)}
        check_modules(modules, settings.network, crops, settings.schedule.meta_iterations)
        self.fusion, self.loss_proposal, self.reconstruction = (module.to(device) for module in modules)
        # Of a user's network it is not known what the mode changes: it stays in that of fusing.
        if isinstance(self.fusion, FusionModule):
            self.fusion.train()
        self.fusion_adam = rated_adam(self.fusion.parameters())
        self.reconstruction_adam = rated_adam(self.reconstruction.parameters())
        self.outer = OuterOptimiser(list(self.loss_proposal.parameters()), settings.outer)
        self.epoch = 0
        self.meta_steps = 0
        self.fusion_steps = 0
        self.epoch_start = (0, 0)
        self.within: dict[str, Any] = {}
        self.skipped = 0
        self.best_score: float | None = None
        self.validated_pairs: int | None = None
        self.validated_digest: int | None = None

    def modules(self) -> dict[str, torch.nn.Module]:
        """Returns the three modules by the names of their checkpoint files."""
        return {
            "fusion": self.fusion,
            "loss_proposal": self.loss_proposal,
            "reconstruction": self.reconstruction,
        }

    @property
    def steps(self) -> int:
        """Finished meta-iterations and fusion updates."""
        return self.meta_steps + self.fusion_steps

    def end_epoch(self) -> None:
        """Count an epoch as finished; the next one begins with its first step."""
        self.epoch += 1
        self.epoch_start, self.within = (self.meta_steps, self.fusion_steps), {}

    def is_finite(self) -> bool:
        """Returns true where every parameter is a finite number (waits for the device)."""
        sums = [parameter.detach().sum() for module in self.modules().values() for parameter in module.parameters()]
        return bool(torch.isfinite(torch.stack(sums)).all())

    def progress(self) -> dict[str, Any]:
        """Returns all but the modules' weights, as plain values and tensors (loads with ``weights_only=True``)."""
        return {
            "fusion_adam": self.fusion_adam.state_dict(),
            "reconstruction_adam": self.reconstruction_adam.state_dict(),
            "outer": self.outer.state_dict(),
            "epoch": self.epoch,
            "meta_steps": self.meta_steps,
            "fusion_steps": self.fusion_steps,
            "epoch_start": list(self.epoch_start),
            "within": self.within,
            "skipped": self.skipped,
            "best_score": self.best_score,
            "validated_pairs": self.validated_pairs,
            "validated_digest": self.validated_digest,
        }

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Continues from ``progress()`` of a state with the same settings."""
        load_adam(self.fusion_adam, progress["fusion_adam"])
        load_adam(self.reconstruction_adam, progress["reconstruction_adam"])
        self.outer.load_state_dict(progress["outer"])
        self.epoch = int(progress["epoch"])
        self.meta_steps = int(progress["meta_steps"])
        self.fusion_steps = int(progress["fusion_steps"])
        self.best_score = progress["best_score"]
        # Older checkpoints do not say; they are of whole epochs.
        meta_steps, fusion_steps = progress.get("epoch_start", (self.meta_steps, self.fusion_steps))
        self.epoch_start, self.within = (int(meta_steps), int(fusion_steps)), dict(progress.get("within", {}))
        self.validated_pairs = progress.get("validated_pairs")
        self.validated_digest = progress.get("validated_digest")
        self.skipped = int(progress.get("skipped", 0))
