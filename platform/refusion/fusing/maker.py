"""The making of one fused picture: read, adapt where that is asked for, fuse, write; no Ray."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from refusion.adapt import Adaptation
from refusion.config.precision import InferencePrecision
from refusion.errors import UserError
from refusion.fuse import fuse_to_depth
from refusion.fusing.results import ResultOptions, write_result
from refusion.images.colour import has_colour
from refusion.images.pairs import Pair
from refusion.images.stacks.stack import Stack
from refusion.images.store import open_pair
from refusion.images.writing import to_depth
from refusion.networks.tiled_inference import OnRows
from refusion.ops.backend import configure
from refusion.runtime.failures import is_fault_of_disk, reason_of
from refusion.stacks import fuse_stack_exact

# ``write_image`` writes beside the file beside the target.
_PART = re.compile(r"\.\.?.+\.part\.(png|tif|jpg)(-\d+\.part)?")


@dataclass(frozen=True)
class WorkItem:
    """One picture to be made, as paths: small enough to be sent to a worker.

    Attributes:
        pair: its sources.
        target: its file.
    """

    pair: Pair
    target: Path

    @property
    def part(self) -> Path:
        """File beside the target that is written first, hidden."""
        return self.target.with_name(f".{self.target.stem}.part{self.target.suffix}")


@dataclass(frozen=True)
class Made:
    """Outcome of one work item.

    Attributes:
        seconds: that it took.
        bad: one sentence on why there is no picture; empty where there is one.
        fault: True where the same would keep others from being made, as a full disk.
    """

    seconds: float
    bad: str = ""
    fault: bool = False


@dataclass(frozen=True)
class Maker:
    """Settings that making a picture needs besides its work item.

    Attributes:
        module: the trained fusion module.
        results: of the picture.
        adaptation: of the module to each pair; None for none.
        task: name of the fusion task, which says in which order a stack is fused.
        precision: "float32", or "tf32" of a GPU.
    """

    module: nn.Module
    results: ResultOptions
    adaptation: Adaptation | None = None
    task: str = ""
    precision: InferencePrecision = "float32"

    def make(self, item: WorkItem, device: str, progress: OnRows | None = None) -> Made:
        """Makes one picture on "cpu", "cuda" or "cuda:N"; what is wrong with a pair is returned, not raised.

        Args:
            item: the picture.
            device: where it is fused.
            progress: is told how far a pair is.
        """
        begin = time.monotonic()
        try:
            self._make(item, device, progress)
        except (UserError, MemoryError, RuntimeError) as error:
            # PyTorch raises RuntimeError where memory lacks, on a GPU too.
            reason = reason_of(error).replace(str(item.part), str(item.target))
            if not reason.startswith((*item.pair.files, str(item.target))):
                reason = f"{item.pair.a}: {reason}"
            return Made(time.monotonic() - begin, reason, fault=is_fault_of_disk(error.__cause__))
        return Made(time.monotonic() - begin)

    def _make(self, item: WorkItem, device: str, progress: OnRows | None) -> None:
        configure(device, precision=self.precision)
        module, pair = self.module.to(device), item.pair
        if self.adaptation is not None:
            module = self.adaptation.to_pairs(module, [pair])
        if isinstance(pair, Stack):
            self._fuse_stack(module, pair, item)
            return
        a, b = open_pair(pair)
        results = self.results
        fused = fuse_to_depth(
            module, a, b, results.depth, stretched=results.stretched, grey=results.grey, progress=progress
        )
        # The source with the colour says how it is to be shown; of two coloured ones, a.
        first, second = (pair.b, pair.a) if has_colour(b) and not has_colour(a) else (pair.a, pair.b)
        # The decoded sources are not needed while the result is encoded.
        del a, b
        write_result(item.part, fused, Path(first), Path(second))

    def _fuse_stack(self, module: nn.Module, stack: Stack, item: WorkItem) -> None:
        coloured: list[str] = []
        pictures = _noted(zip(stack.files, stack.read(), strict=True), coloured)
        results = self.results
        fused = fuse_stack_exact(module, pictures, self.task, stretched=results.stretched, grey=results.grey)
        # The first source with colour says how it is to be shown.
        first = coloured[0] if coloured else stack.a
        second = next(file for file in stack.files if file != first)
        write_result(item.part, to_depth(fused, results.depth), Path(first), Path(second))


def _noted(pictures: Iterable[tuple[str, NDArray[np.float32]]], coloured: list[str]) -> Iterator[NDArray[np.float32]]:
    """Yields the pictures, and notes in ``coloured`` the files of those that have colour."""
    for file, picture in pictures:
        if has_colour(picture):
            coloured.append(file)
        yield picture


def remove_parts(folder: Path) -> None:
    """Removes what jobs that were killed while they wrote have left in a folder of results."""
    for entry in [entry.path for entry in os.scandir(folder) if _PART.fullmatch(entry.name)]:
        Path(entry).unlink(missing_ok=True)


def make(maker: Maker, item: WorkItem, device: str) -> Made:
    """Makes one picture in a worker."""
    return maker.make(item, device)
