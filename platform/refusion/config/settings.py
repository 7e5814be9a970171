"""Typed, validated settings of a run; the defaults are what works (docs/results.md), the published ones a preset."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from refusion.config.network import NetworkSettings
from refusion.config.objective import ObjectiveSettings
from refusion.config.per_epoch import NumberOrPiecewise, at
from refusion.config.ranges import AUTO, DEFAULT_MEGAPIXELS, RANGE_FORMS, parse_ranges
from refusion.config.schedules import (
    CosineRate,
    InnerRate,
    InnerSteps,
    LinearSteps,
    PositiveFloat,
    Rate,
    Section,
    TiedRate,
    kinds,
    of_kind,
)
from refusion.config.workers import Workers, is_range, worker_counts
from refusion.errors import UserError
from refusion.tasks import TaskName

BUILTIN = "builtin"
# EN, SD, SF and AG reward noise, so none of them may choose the best checkpoint.
BestBy = Literal["Qabf", "SSIM", "VIF", "SCD"]
Count = Annotated[int, Field(ge=1)]


class ScheduleSettings(Section):
    """Length of the training, its rates, and its inner steps."""

    epochs: int = Field(8, ge=1, description="epochs of meta-iterations followed by fusion steps")
    meta_iterations: int = Field(30, ge=0, description="inner + outer updates per epoch; 0: the loss stays as it is")
    fusion_steps: int | None = Field(300, ge=1, description="fusion updates per epoch; null: one pass over the pairs")
    rate: Annotated[Rate, of_kind("step")] = Field(
        CosineRate(value=2e-3, end=1e-6),
        description=f"rate of F and R: a number, or kind {'|'.join(kinds(Rate))} and its settings",
    )
    inner_rate: Annotated[InnerRate, of_kind("constant")] = Field(
        TiedRate(), description=f"inner rate η: a number, or kind {'|'.join(kinds(InnerRate))} and its settings"
    )
    inner_steps: InnerSteps = Field(
        1, description="inner steps K: a number, by epochs gone before {0: 1, 5: 3}, or {start: …, end: …}"
    )

    max_skipped: int = Field(
        10,
        ge=0,
        description="steps left out, since their loss or gradient is not finite, before a training stops",
    )

    def rate_at(self, position: float) -> float:
        """Returns the rate of F and R at ``position`` epochs after the start (fractions count)."""
        return self.rate.at(position, self.epochs)

    def inner_rate_at(self, position: float) -> float:
        """Returns the inner rate η at that moment: a multiple of the rate there, or a schedule of its own."""
        if isinstance(self.inner_rate, TiedRate):
            return self.inner_rate.ratio * self.rate_at(position)
        return self.inner_rate.at(position, self.epochs)

    def inner_steps_at(self, epoch: int) -> int:
        """Returns K, the inner steps of each meta-iteration in that epoch (0-based)."""
        if isinstance(self.inner_steps, LinearSteps):
            return self.inner_steps.at(epoch, self.epochs)
        return at(self.inner_steps, epoch)


class OuterSettings(Section):
    """Step of the loss proposal module along the meta-gradient."""

    kind: Literal["normalised", "adam"] = Field(
        "adam", description="plain step of fixed max-norm (published), or Adam with a small eps"
    )
    ratio: NumberOrPiecewise[PositiveFloat] = Field(
        ((0, 1e-6), (1, 0.5)), description="outer rate divided by rate: a number, or by epochs gone before {0: …, 5: …}"
    )
    accumulate: int = Field(1, ge=1, description="meta-iterations whose meta-gradients are added up for one step")
    adam_eps: PositiveFloat = Field(1e-12, description="Adam's eps; meta-gradients are as small as 1e-8")


class MetaSettings(Section):
    """Space in which the inner update moves, and R's part in it."""

    space: Literal["parameters", "image"] = Field(
        "image",
        description="inner update on F's parameters (published), or on the fused image itself, η then being per pixel",
    )


class ImagesSettings(Section):
    """Crops and batches of image pairs."""

    crop: NumberOrPiecewise[Annotated[int, Field(ge=8, le=4096)]] = Field(
        64, description="side of the square crops, pixels: a number, or by epochs gone before {0: …, 5: …}"
    )
    subset: NumberOrPiecewise[Count] | None = Field(
        None,
        description="train pairs, evenly spread: a number, or by epochs gone before {0: …, 5: …}; default all",
    )
    batch: int = Field(4, ge=1, description="pairs in the global batch, before the swapped copies")
    swap: bool = Field(False, description="feed each batch also with the two sources swapped")
    cache_mb: int = Field(1024, ge=0, description="memory for decoded images per worker, MiB")
    device_cache_mb: int = Field(
        4096, ge=0, description="the same of a GPU, of which half of what is free is taken at most; 0: none"
    )


class ValidationSettings(Section):
    """Measurements on the full-size images of the val split."""

    images: NumberOrPiecewise[Count] | None = Field(
        None, description="pairs, evenly spread: a number, or by epochs gone before {0: …, 5: …}; default all"
    )
    every: int = Field(1, ge=1, description="epochs between two validations (the last epoch is always validated)")
    at_start: bool = Field(True, description="measure also before the first step, as epoch 0")
    pictures: int = Field(3, ge=0, description="how many fused pairs and weight maps are kept as pictures")
    best_by: BestBy = Field("Qabf", description="metric that decides which checkpoint is the best")


class CheckpointSettings(Section):
    """Checkpoints that are written and kept."""

    keep: int = Field(3, ge=1, description="newest epochs whose checkpoints are kept; the best is kept besides")
    every_minutes: float = Field(
        5.0, ge=0, description="minutes between two checkpoints and records of losses within an epoch; 0: none"
    )
    every_steps: int = Field(
        0, ge=0, description="the same by steps: meta-iterations and fusion updates, over all epochs; 0: none"
    )


class Settings(Section):
    """All settings of a training job."""

    tasks: tuple[TaskName, ...] = Field(
        ("IVIF", "MIF", "MFIF", "MEIF"), min_length=1, description="fusion tasks to train"
    )
    data: str = Field(
        BUILTIN, min_length=1, description="folder with TASK/{train,val}/{a,b}, a public data set's, or 'builtin'"
    )
    map: str | None = Field(None, description="folders or parts of names of the sources, such as a=ir,b=vis")
    split: str | None = Field(None, description="splits to divide into by scenes, such as train=80%,val=20%")
    skip_bad_pairs: bool = Field(False, description="train without the pairs that are found bad")
    range: str = Field(
        AUTO, description=f"values of each source that become black and white: {RANGE_FORMS}; a=RULE b=RULE for each"
    )
    max_megapixels: float = Field(
        DEFAULT_MEGAPIXELS, gt=0, description="pixels that a picture may have, in millions, and bytes eight times that"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of crops, order and initial weights")
    workers: Workers = Field(
        1, description="Ray Train workers per task; LEAST..MOST: as many as there is room for, also when that changes"
    )
    threads: int | None = Field(None, ge=1, description="CPUs and torch threads per worker; default what fits")
    gpu: bool = Field(False, description="one GPU per worker, NCCL instead of gloo")
    recompute: bool = Field(
        False, description="make intermediate results anew in backward passes: less memory, more time, same numbers"
    )
    compile: bool | None = Field(
        None,
        description="run the networks as compiled code, several times as fast, with the same numbers to rounding; "
        "takes seconds once; default: on CPUs, not on GPUs, which it made slower",
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32",
        description="float32, exact on GPUs too; tf32: a GPU's products and convolutions keep 10 bits; bfloat16: so do "
        "a CPU's wide maps within the networks, of which compiled code makes none",
    )
    graphs: bool | None = Field(
        None,
        description="replay a GPU's steps as CUDA graphs, several times as fast, with the same numbers; default: yes",
    )
    retries: int = Field(3, ge=0, description="how often a task is restarted after a worker is lost")
    schedule: ScheduleSettings = ScheduleSettings()
    meta: MetaSettings = MetaSettings()
    outer: OuterSettings = OuterSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    images: ImagesSettings = ImagesSettings()
    network: NetworkSettings = NetworkSettings()
    validation: ValidationSettings = ValidationSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    per_task: dict[TaskName, dict[str, Any]] = Field(
        {}, description="by task, the settings in which it differs: {IVIF: {section: {key: value}}}"
    )

    @field_validator("tasks")
    @classmethod
    def _once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) != len(tasks):
            raise ValueError("a task is named twice")
        return tasks

    @field_validator("range")
    @classmethod
    def _is_range(cls, text: str) -> str:
        try:
            parse_ranges(text)
        except UserError as error:
            raise ValueError(str(error)) from error
        return text

    @property
    def worker_counts(self) -> tuple[int, ...]:
        """Numbers of workers with which a task may train, ascending: each divides the batch."""
        return worker_counts(self.workers, self.images.batch)

    @model_validator(mode="after")
    def _batch_divides(self) -> Settings:
        if not self.worker_counts:
            of = "one of the numbers of workers in" if is_range(self.workers) else "workers"
            raise ValueError(
                f"images.batch ({self.images.batch}) must be a multiple of {of} ({self.workers}), "
                "so that every worker averages over equally many pairs"
            )
        return self
