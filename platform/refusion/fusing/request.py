"""Request of a fusing: what the command line asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from refusion.config.precision import InferencePrecision
from refusion.config.ranges import Reading
from refusion.fusing.results import ResultOptions


@dataclass(frozen=True)
class Request:
    """Options of fusing two files or two folders.

    Attributes:
        checkpoint: what ``--checkpoint`` takes.
        task: name of the fusion task.
        a, b: two files, or two folders with pictures of equal stems.
        out: folder for the results.
        reading: how sources are found and read.
        results: format, depth, colour and stretch of the results.
        skip_bad_pairs: bad pairs are no fault: the exit status is 0.
        stop_at_first_bad: nothing is fused where the check finds a bad pair, and nothing more after one found later.
        overwrite: pictures that are there already are fused anew.
        adapt: steps by which the module is adapted first, None for none.
        adapt_rate: of each.
        adapt_each: to each pair by itself.
        device: "cpu", "cuda" or "cuda:N".
        precision: "float32", or "tf32" of a GPU.
        workers: pairs at once, on Ray; None for one in this process, or for all CPUs of a cluster that is named.
        tracking_uri: MLflow's store.
        trust_code: as for ``load_module``.
        sources: of stacks, all of them, a and b first; empty for pairs.
    """

    checkpoint: str
    task: str
    a: Path
    b: Path
    out: Path
    reading: Reading = field(default_factory=Reading)
    results: ResultOptions = field(default_factory=ResultOptions)
    skip_bad_pairs: bool = False
    stop_at_first_bad: bool = False
    overwrite: bool = False
    adapt: int | None = None
    adapt_rate: float = 1e-4
    adapt_each: bool = False
    device: str = "cpu"
    precision: InferencePrecision = "float32"
    workers: int | None = None
    tracking_uri: str | None = None
    trust_code: bool | tuple[str, ...] = False
    sources: tuple[Path, ...] = ()
