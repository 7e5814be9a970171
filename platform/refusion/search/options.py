"""Options of a sweep besides the settings of its trials, validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from refusion.errors import UserError
from refusion.import_path import is_import_path
from refusion.tasks import TaskName

DEFAULT_OBJECTIVE = "SSIM,Qabf,VIF,SCD"
SearchKind = Literal["random", "grid", "optuna"]
# Those that end trials, so that a grace period means something.
STOPPING = ("asha", "hyperband", "median")
SCHEDULERS = (*STOPPING, "pbt", "pb2", "none")
# Population-based schedulers change values while a trial trains, and choose its next values themselves.
PBT_KINDS = ("pbt", "pb2")
# Schedulers that pause trials until others have come as far, so that all of them must have begun.
PAUSING = (*PBT_KINDS, "hyperband")

# Older spellings of options, which are still read.
_OLD_NAMES = {"held_back": "held_out"}


def _known_scheduler(name: str) -> str:
    if name in SCHEDULERS or is_import_path(name):
        return name
    raise PydanticCustomError(
        "scheduler", "must be {names} or module:Class", {"names": ", ".join(map(repr, SCHEDULERS))}
    )


class SweepOptions(BaseModel):
    """Options of a search; every field is an option of jobs/sweep.py, ``--workers-per-trial`` and so on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: tuple[TaskName, ...] = Field(min_length=1, description="task or tasks that each trial trains, or 'all'")
    trials: int = Field(
        16, ge=1, description="trials besides trial 0, which has the base settings; all of a grid if less"
    )
    objective: str = Field(
        DEFAULT_OBJECTIVE, description="SSIM | SSIM,Qabf:2,VIF (weighted average rank) | pareto:SSIM,Qabf"
    )
    search: SearchKind = Field("optuna", description="how the next trial's values are found")
    sampler: Literal["tpe", "gp"] = Field("tpe", description="of optuna")
    scheduler: Annotated[str, AfterValidator(_known_scheduler)] = Field(
        "asha", description="asha | hyperband | median | pbt | pb2 | none | module:Class (your own, for Ray Tune)"
    )
    grace: int = Field(1, ge=1, description="epochs that no trial is stopped before")
    reduction: int = Field(3, ge=2, description="one trial in so many goes on at each rung of asha and hyperband")
    interval: int = Field(2, ge=1, description="epochs between two exchanges of a population (pbt, pb2)")
    max_concurrent: int | None = Field(None, ge=1, description="trials at a time; default what fits")
    workers_per_trial: int = Field(1, ge=1, description="Ray Train workers of a trial; 1: in the trial's own process")
    gpu_per_trial: float = Field(1.0, gt=0, le=1, description="share of a GPU with --gpu; 0.25: four trials on each")
    trials_per_gpu: int = Field(
        1, ge=1, description="trials that one process trains at a time on a GPU (without --gpu, on its CPUs)"
    )
    held_out: float = Field(0.5, ge=0, lt=1, description="share of the val pairs that only the final comparison sees")
    warm_start: tuple[str, ...] = Field((), description="earlier sweeps, by name, whose results optuna begins with")

    @model_validator(mode="after")
    def _go_together(self) -> SweepOptions:
        pbt = self.scheduler in PBT_KINDS
        if pbt and self.trials < 2:
            raise ValueError(f"--scheduler {self.scheduler} needs a population: --trials 2 or more")
        if pbt and self.search == "grid":
            raise ValueError(f"--scheduler {self.scheduler} begins with random values: leave --search grid out")
        if self.scheduler in PAUSING and self.max_concurrent is not None:
            raise ValueError(
                f"--scheduler {self.scheduler}: all trials take turns on what the cluster has; "
                "leave --max-concurrent out"
            )
        if self.scheduler in PAUSING and self.workers_per_trial > 1:
            raise ValueError(
                f"--scheduler {self.scheduler} pauses trials, which those of one process each can do: "
                "leave --workers-per-trial out, or take another scheduler"
            )
        if self.workers_per_trial > 1 and self.gpu_per_trial != 1.0:
            raise ValueError("--gpu-per-trial divides GPUs between trials of one worker: leave --workers-per-trial out")
        if self.trials_per_gpu > 1 and self.workers_per_trial > 1:
            raise ValueError(
                "--trials-per-gpu trains several trials in one process, and --workers-per-trial one trial in several: "
                "leave one of them out"
            )
        if self.trials_per_gpu > 1 and self.gpu_per_trial != 1.0:
            raise ValueError(
                "--gpu-per-trial divides a GPU between processes, and --trials-per-gpu between trials of one process: "
                "leave one of them out"
            )
        if self.warm_start and (self.search != "optuna" or pbt):
            raise ValueError("--warm-start is for --search optuna without a population: other searches do not learn")
        return self


def with_new_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Plain options, those in an older spelling under their name of today."""
    return {_OLD_NAMES.get(name, name): value for name, value in given.items()}


def old_spellings(name: str) -> list[str]:
    """Older names of an option."""
    return [old for old, new in _OLD_NAMES.items() if new == name]


def read_options(given: Mapping[str, Any]) -> SweepOptions:
    """Options from plain values, under their names of today or older ones.

    Raises:
        UserError: names each wrong option.
    """
    try:
        return SweepOptions.model_validate(with_new_names(given))
    except ValidationError as error:
        sentences: dict[str, str] = {}
        for item in error.errors():
            # A list whose only value is wrong is also called too short.
            sentences.setdefault(str(item["loc"][:1]), _sentence(item))
        raise UserError("; ".join(sentences.values())) from error


def _sentence(item: Any) -> str:
    name = f"--{str(item['loc'][0]).replace('_', '-')}" if item["loc"] else ""
    if item["type"] == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{name} is missing"
    if item["type"] == "extra_forbidden":
        return f"there is no option {name} of a sweep (see --help)"
    if item["type"] == "too_short":
        return f"{name} needs at least one value"
    if name == "--workers-per-trial" and ".." in str(item["input"]):
        return (
            f"{name} {item['input']}: a trial keeps its number of workers; give one number (ranges are for trainings)"
        )
    if item["type"] == "tuple_type":
        return f"{name} must be a list (it is {item['input']!r})"
    message = str(item["msg"]).replace("Input should be", "must be").replace("greater than or equal to", "at least")
    return f"{name} {message.partition(', unable to parse')[0]} (it is {item['input']!r})"
