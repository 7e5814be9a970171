"""The request for an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from refusion.config.arrangement import Arrangement
from refusion.config.precision import InferencePrecision
from refusion.config.ranges import Reading
from refusion.evaluation.methods import Kind

Format = Literal["text", "markdown", "latex"]
FORMATS: tuple[Format, ...] = ("text", "markdown", "latex")


@dataclass(frozen=True)
class Request:
    """The options of jobs/evaluate.py, as they were given.

    Attributes:
        methods: (option, value).
        trust_code: permission to run code that a checkpoint names: True for any, or the import paths that may be.
        precision: "float32", or "tf32" of GPUs.
        adapt: number of steps by which each checkpoint is also adapted to the pictures, as a method of its own.
        adapt_each: adapts to each pair by itself, not to all together.
        reading: ranges of the sources, and limits.
        skip_bad_pairs: leave bad pairs out.
    """

    methods: Sequence[tuple[Kind, str]]
    task: str
    out: Path
    a: Path | None = None
    b: Path | None = None
    data: str | None = None
    split: str = "val"
    metrics: Sequence[str] | None = None
    convention: str = "authors"
    reference: Path | None = None
    align: str | None = None
    format: Format = "text"
    save: Path | None = None
    experiment: str | None = None
    tracking_uri: str | None = None
    workers: int | None = None
    gpu: bool = False
    precision: InferencePrecision = "float32"
    seed: int = 0
    trust_code: bool | tuple[str, ...] = ()
    adapt: int | None = None
    adapt_rate: float = 1e-4
    adapt_each: bool = False
    reading: Reading = field(default_factory=lambda: Reading(arrangement=Arrangement(whole=True)))
    skip_bad_pairs: bool = False

    @property
    def all_metrics(self) -> bool:
        """True where every metric is asked for that the convention has and the images are large enough for."""
        return self.metrics is not None and list(self.metrics) == ["all"]
