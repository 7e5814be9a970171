"""Typed, validated settings of a run; the defaults are the published network and schedule."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from refusion.config.per_epoch import NumberOrPiecewise, at, starts
from refusion.config.schedules import (
    InnerRate,
    InnerSteps,
    LinearSteps,
    NonNegativeFloat,
    PositiveFloat,
    Rate,
    Section,
    StepRate,
    TiedRate,
    kinds,
    of_kind,
)
from refusion.import_path import is_import_path
from refusion.tasks import TaskName

BUILTIN = "builtin"
BUILTIN_NETWORK = "refusion"
PUBLISHED = "published"
SALIENT, DETAIL = "salient", "detail"
# EN, SD, SF and AG reward noise, so none of them may choose the best checkpoint.
BestBy = Literal["Qabf", "SSIM", "VIF", "SCD"]
Count = Annotated[int, Field(ge=1)]


def _or_import_path(form: str, *builtin: str) -> AfterValidator:
    """Validator of a setting that is ``builtin``, or names a class or function of the user's; imports nothing."""

    def validate(kind: str) -> str:
        if kind not in builtin and not is_import_path(kind):
            noun = form.rpartition(":")[2].lower()
            names = ", ".join(repr(name) for name in builtin)
            raise ValueError(f"must be {names}, or the import path of a {noun} as {form}")
        return kind

    return AfterValidator(validate)


NetworkKind = Annotated[str, _or_import_path("module:Class", BUILTIN_NETWORK)]


class ScheduleSettings(Section):
    """Length of the training, its rates, and its inner steps."""

    epochs: int = Field(50, ge=1, description="epochs of meta-iterations followed by fusion steps")
    meta_iterations: int = Field(600, ge=0, description="inner + outer updates per epoch; 0: the loss stays as it is")
    fusion_steps: int | None = Field(None, ge=1, description="fusion updates per epoch; default one pass")
    rate: Annotated[Rate, of_kind("step")] = Field(
        StepRate(value=1e-4),
        description=f"rate of F and R: a number, or kind {'|'.join(kinds(Rate))} and its settings",
    )
    inner_rate: Annotated[InnerRate, of_kind("constant")] = Field(
        TiedRate(), description=f"inner rate η: a number, or kind {'|'.join(kinds(InnerRate))} and its settings"
    )
    inner_steps: InnerSteps = Field(
        1, description="inner steps K: a number, piecewise {0: K, epoch: K, …}, or {start: …, end: …}"
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
        "normalised", description="plain step of fixed max-norm (published), or Adam with a small eps"
    )
    ratio: NumberOrPiecewise[PositiveFloat] = Field(
        1.0, description="outer rate divided by rate: a number, or piecewise {0: …, epoch: …, …}"
    )
    accumulate: int = Field(2, ge=1, description="meta-iterations whose meta-gradients are added up for one step")
    adam_eps: PositiveFloat = Field(1e-12, description="Adam's eps; meta-gradients are as small as 1e-8")


class ObjectiveSettings(Section):
    """Fusion loss, with the coefficients of L_f = α·L_int + β·L_grad, and reconstruction loss."""

    kind: Annotated[str, _or_import_path("module:function", PUBLISHED)] = Field(
        PUBLISHED,
        description="fusion loss: published, or a function of yours of (fused, sources, weights) as module:function",
    )
    reward: Annotated[str, _or_import_path("module:function", PUBLISHED, SALIENT, DETAIL)] = Field(
        PUBLISHED,
        description="reconstruction loss: published, salient (each source counts where it has something to say), "
        "detail (salient, gradients first), or a function of yours of (rebuilt, sources) as module:function",
    )
    channel_noise: NonNegativeFloat = Field(
        0.0, description="R sees the fused image through a channel with normal noise of this deviation (image: 0 to 1)"
    )
    alpha: NumberOrPiecewise[NonNegativeFloat] = Field(
        1.0, description="weight of the intensity term: a number, or piecewise {0: …, epoch: …, …}"
    )
    beta: NumberOrPiecewise[NonNegativeFloat] = Field(
        1.0, description="weight of the gradient term (at the end of the ramp): a number, or piecewise"
    )
    beta_ramp: Literal["linear", "constant"] = Field("linear", description="linear: β·(epoch + 1)/epochs")
    gradient: Literal["learned", "signed", "maxabs"] = Field(
        "learned",
        description="learned weights v of squared sums of magnitudes (learned) or of signed differences (signed), or "
        "the larger gradient (maxabs)",
    )
    weighting: Literal["squared", "linear"] = Field(
        "squared", description="squared differences are weighed by the weights squared (published) or as they are"
    )
    learned: Literal["both", "intensity", "gradient"] = Field(
        "both", description="weights that the built-in P learns; the others stay one half"
    )

    def beta_at(self, epoch: int, epochs: int) -> float:
        """Returns β in that epoch (0-based): on the linear ramp, (epoch + 1)/epochs of its full value (published).

        A piecewise β changes the full value; the ramp goes on.
        """
        beta = at(self.beta, epoch)
        return beta if self.beta_ramp == "constant" else beta * (epoch + 1) / epochs

    @model_validator(mode="after")
    def _something_is_learned(self) -> ObjectiveSettings:
        if self.kind != PUBLISHED:
            return self
        for epoch in starts(self.alpha, self.beta):
            if at(self.alpha, epoch) == 0 and (at(self.beta, epoch) == 0 or self.gradient == "maxabs"):
                when = f"from epoch {epoch} on, " if epoch else ""
                raise ValueError(
                    f"{when}with alpha 0 no term has learned weights; raise alpha, or beta with gradient 'learned'"
                )
        return self


class MetaSettings(Section):
    """Space in which the inner update moves, and R's part in it."""

    space: Literal["parameters", "image"] = Field(
        "parameters",
        description="inner update on F's parameters (published), or on the fused image itself, η then being per pixel",
    )


class ImagesSettings(Section):
    """Crops and batches of image pairs."""

    crop: NumberOrPiecewise[Annotated[int, Field(ge=8, le=4096)]] = Field(
        128, description="side of the square crops, pixels: a number, or piecewise {0: …, epoch: …, …}"
    )
    subset: NumberOrPiecewise[Count] | None = Field(
        None, description="number of train pairs, evenly spread: a number, or piecewise; default all"
    )
    batch: int = Field(2, ge=1, description="pairs in the global batch, before the swapped copies")
    swap: bool = Field(True, description="feed each batch also with the two sources swapped")
    cache_mb: int = Field(1024, ge=0, description="memory for decoded images per worker, MiB")


class NetworkSettings(Section):
    """The three modules F, P and R: the built-in ones in chosen sizes, or classes of the user's by import path.

    The defaults are the published fusion network. Sizes are those of the built-in modules; another class takes its
    options.
    """

    kind: NetworkKind = Field(
        BUILTIN_NETWORK, description="F: refusion (the published network), or a class of yours as module:Class"
    )
    options: dict[str, Any] = Field({}, description="keyword arguments of that class, as --network.options.key value")
    loss_proposal_kind: NetworkKind = Field(BUILTIN_NETWORK, description="P: refusion, or module:Class")
    loss_proposal_options: dict[str, Any] = Field({}, description="keyword arguments of that class")
    reconstruction_kind: NetworkKind = Field(BUILTIN_NETWORK, description="R: refusion, or module:Class")
    reconstruction_options: dict[str, Any] = Field({}, description="keyword arguments of that class")
    width: int = Field(16, ge=1, description="channels of F and P")
    reconstruction_width: int = Field(32, ge=1, description="channels of R")
    heads: int = Field(8, ge=1, description="attention heads")
    blocks: int = Field(2, ge=1, description="blocks per stage")
    expansion: int = Field(2, ge=1, description="widening inside the gated feed-forward")
    equivariant: bool = Field(
        False, description="the built-in P treats both orders of the sources alike, by adding the logits of both"
    )
    centred: bool = Field(
        False, description="the built-in P's logits have mean 0 over a picture: no source is given up in the whole"
    )
    prior: Literal["none", "saliency"] = Field(
        "none", description="the built-in P begins with equal weights, or with saliency's and learns what to change"
    )
    reconstruction_from_fused: bool = Field(
        False, description="the built-in R learns what to add to the fused image, instead of finding it first"
    )
    start: Literal["average", "random", "pretrained"] = Field(
        "average",
        description="the built-in F begins near the average of the sources, with random weights, or (and P with it) as "
        "the trained modules that come along",
    )

    @model_validator(mode="after")
    def _options_belong_to_a_class(self) -> NetworkSettings:
        for prefix in ("", "loss_proposal_", "reconstruction_"):
            if getattr(self, f"{prefix}kind") == BUILTIN_NETWORK and getattr(self, f"{prefix}options"):
                raise ValueError(
                    f"{prefix}options are those of a class given by {prefix}kind module:Class; the built-in network "
                    "has width, heads, blocks and expansion"
                )
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> NetworkSettings:
        for name in ("width", "reconstruction_width"):
            if getattr(self, name) % self.heads:
                raise ValueError(f"{name} ({getattr(self, name)}) must be a multiple of heads ({self.heads})")
        return self


class ValidationSettings(Section):
    """Measurements on the full-size images of the val split."""

    images: NumberOrPiecewise[Count] | None = Field(
        None, description="number of pairs, evenly spread: a number, or piecewise; default all"
    )
    every: int = Field(1, ge=1, description="epochs between two validations (the last epoch is always validated)")
    pictures: int = Field(3, ge=0, description="how many fused pairs and weight maps are kept as pictures")
    best_by: BestBy = Field("Qabf", description="metric that decides which checkpoint is the best")


class CheckpointSettings(Section):
    """Number of checkpoints that are kept."""

    keep: int = Field(3, ge=1, description="newest checkpoints that are kept; the best is kept besides")


class Settings(Section):
    """All settings of a training job."""

    tasks: tuple[TaskName, ...] = Field(
        ("IVIF", "MIF", "MFIF", "MEIF"), min_length=1, description="fusion tasks to train"
    )
    data: str = Field(BUILTIN, min_length=1, description="folder with TASK/{train,val}/{a,b}, or 'builtin'")
    skip_bad_pairs: bool = Field(False, description="train without the pairs that are found bad")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of crops, order and initial weights")
    workers: int = Field(1, ge=1, description="Ray Train workers per task")
    threads: int | None = Field(None, ge=1, description="CPUs and torch threads per worker; default what fits")
    gpu: bool = Field(False, description="one GPU per worker, NCCL instead of gloo")
    recompute: bool = Field(
        False, description="make intermediate results anew in backward passes: less memory, more time, same numbers"
    )
    compile: bool | None = Field(
        None,
        description="run the networks as compiled code, several times as fast, with the same numbers to rounding; "
        "takes seconds once; default: on CPUs, not on GPUs",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the wide maps within the networks, of which compiled code makes none; all else is float32",
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

    @model_validator(mode="after")
    def _batch_divides(self) -> Settings:
        if self.images.batch % self.workers:
            raise ValueError(
                f"images.batch ({self.images.batch}) must be a multiple of workers ({self.workers}), "
                "so that every worker averages over equally many pairs"
            )
        return self
