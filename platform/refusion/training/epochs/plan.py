"""Plan of a training in numbers, before anything is trained: steps, pairs, pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from refusion.config.per_epoch import at
from refusion.config.settings import Settings

Kind = Literal["meta", "fusion", "validation"]


@dataclass(frozen=True)
class EpochPlan:
    """Work of one epoch.

    Attributes:
        meta_iterations, fusion_updates: their numbers.
        batch: pairs in a global batch.
        crop: side of the crops, pixels.
        inner_steps: K.
        parts: batches that a meta-iteration draws.
        val_pairs: pairs that are validated after the epoch, 0 where it is not validated.
    """

    meta_iterations: int
    fusion_updates: int
    batch: int
    crop: int
    inner_steps: int
    parts: int
    val_pairs: int

    def cost(self, kind: Kind) -> float:
        """Work of one meta-iteration, fusion update or validated pair, comparable among epochs of one kind."""
        if kind == "validation":
            return 1.0
        pixels = float(self.batch * self.crop**2)
        return pixels * self.parts if kind == "meta" else pixels

    def count(self, kind: Kind) -> int:
        """Number of meta-iterations, fusion updates or validated pairs of the epoch."""
        return {"meta": self.meta_iterations, "fusion": self.fusion_updates, "validation": self.val_pairs}[kind]


def plan_epoch(settings: Settings, epoch: int, train_pairs: int, val_pairs: int) -> EpochPlan:
    """Returns the plan of an epoch (0-based) with so many pairs in the two splits."""
    schedule, images, validation = settings.schedule, settings.images, settings.validation
    subset = train_pairs if images.subset is None else min(at(images.subset, epoch), train_pairs)
    validated = (epoch + 1) % validation.every == 0 or epoch + 1 == schedule.epochs
    inner_steps = schedule.inner_steps_at(epoch)
    return EpochPlan(
        meta_iterations=schedule.meta_iterations,
        # One pass over the pairs unless told otherwise.
        fusion_updates=schedule.fusion_steps or -(-subset // images.batch),
        batch=images.batch,
        crop=at(images.crop, epoch),
        inner_steps=inner_steps,
        # On the image all K steps are of the same pictures.
        parts=2 if settings.meta.space == "image" else inner_steps + 1,
        val_pairs=validated_pairs(settings, epoch, val_pairs) if validated else 0,
    )


def validated_pairs(settings: Settings, epoch: int, val_pairs: int) -> int:
    """Returns how many of the val pairs an epoch (0-based) measures."""
    images = settings.validation.images
    return val_pairs if images is None else min(at(images, epoch), val_pairs)


def plan_training(settings: Settings, train_pairs: int, val_pairs: int) -> list[EpochPlan]:
    """Returns the plans of all epochs."""
    return [plan_epoch(settings, epoch, train_pairs, val_pairs) for epoch in range(settings.schedule.epochs)]


def in_words(settings: Settings, plans: Sequence[EpochPlan], val_pairs: int) -> str:
    """Says in one line what a task's training will do.

    >>> in_words(settings := Settings(), plan_training(settings, 20, 5), 5)
    '8 epochs of 30 meta-iterations (K 1) and 300 fusion updates, 4 pairs each, crops of 64; 5 pairs validated'
    """
    iterations, updates = ([plan.count(kind) for plan in plans] for kind in ("meta", "fusion"))
    parts = [
        f"{_counted([len(plans)], 'epoch')} of {_counted(iterations, 'meta-iteration')} "
        f"(K {_range([plan.inner_steps for plan in plans])}) and {_counted(updates, 'fusion update')}, "
        f"{_counted([plan.batch for plan in plans], 'pair')} each, crops of {_range([p.crop for p in plans])}"
    ]
    validated = [plan.val_pairs for plan in plans if plan.val_pairs]
    if settings.validation.at_start:
        validated.append(validated_pairs(settings, 0, val_pairs))
    parts.append(f"{_counted(validated, 'pair')} validated")
    return "; ".join(parts)


def _counted(values: Sequence[int], what: str) -> str:
    return f"{_range(values)} {what}{'' if max(values) == 1 else 's'}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
