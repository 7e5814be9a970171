"""Fusion of two files that somebody has dropped: checked as every job checks them, fused, scored, compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from refusion.baselines import BASELINES, fuse_baseline
from refusion.config.ranges import Reading
from refusion.demo.modules import Chosen
from refusion.errors import UserError
from refusion.fuse import fuse_exact
from refusion.images.colour import has_colour, luminance
from refusion.images.formats import stem_of
from refusion.images.pair_check import check_matched
from refusion.images.pairs import Checked, Matched, Pair, note_lines
from refusion.images.ranges import UnusableRangeError, find_extent, measure, to_grey_levels
from refusion.images.reading import UnreadableImageError, decode, read_bytes
from refusion.images.store import read_pair
from refusion.images.writing import Carried, Depth, read_carried, to_depth, write_image
from refusion.training.pictures.weight_maps import proposed_weights, weight_maps

Image = npt.NDArray[np.uint8]
OnStep = Callable[[float, str], None]

FUSED, SOURCE_A, SOURCE_B = "fused", "source a", "source b"


@dataclass(frozen=True)
class Result:
    """All that the page shows of one pair.

    Attributes:
        pictures: by name, uint8 of one height and width: the sources, the fused picture, the baselines.
        sources: luminance, (2, H, W) float32 in [0, 1].
        maps: both weight maps with their scales, (height, width, 3); None where the module has no P.
        notes: of the check of pairs, a sentence each.
        file: the fused picture at full depth.
        depth: its bits.
    """

    pictures: dict[str, Image]
    sources: npt.NDArray[np.float32]
    maps: Image | None
    notes: list[str]
    file: Path
    depth: Depth


def preview(file: Path, side: str, reading: Reading) -> Image:
    """Returns one picture as it is read by itself, 8 bits, before it has a partner.

    Args:
        file: the picture.
        side: "a" or "b", which may have ranges of their own.
        reading: ranges and limits.

    Raises:
        UserError: it cannot be read; the sentence names the file without its folder.
    """
    rule = reading.ranges.of(side)
    try:
        samples = decode(read_bytes(file, reading.megapixels), file, reading.megapixels)
        extremes = measure(samples, rule)
        return _shown(to_grey_levels(samples, find_extent(rule, extremes, extremes)))
    except UnreadableImageError as error:
        raise UserError(f"{file.name}: {error.what}") from error
    except UnusableRangeError as error:
        raise UserError(f"{file.name}: {error}") from error


def fuse_files(
    a: Path,
    b: Path,
    task: str,
    chosen: Chosen,
    folder: Path,
    reading: Reading,
    on_step: OnStep = lambda _at, _what: None,
) -> Result:
    """Checks and fuses a pair of files.

    Args:
        a, b: the sources.
        task: name of the fusion task.
        chosen: the module.
        folder: for the result's file.
        reading: ranges and limits.
        on_step: called with the share that is done and the name of what comes next.

    Raises:
        UserError: the pair is bad; its problems, a line each, name the files without their folders.
    """
    on_step(0.0, "checking")
    checked = check_pair(a, b, task, reading)
    (pair,) = checked.pairs
    first, second = read_pair(pair)
    on_step(0.1, "fusing")
    levels = fuse_exact(chosen.fusion, first, second)
    sources = np.stack([luminance(first), luminance(second)])
    on_step(0.5, "weight maps")
    maps = None
    if chosen.loss_proposal is not None:
        maps = weight_maps(proposed_weights(chosen.loss_proposal, torch.from_numpy(sources)[None]))
    pictures = {FUSED: _shown(levels), SOURCE_A: _shown(first), SOURCE_B: _shown(second)}
    on_step(0.6, "baselines")
    for name, baseline in BASELINES.items():
        if task in baseline.tasks:
            pictures[name] = fuse_baseline(name, first, second, task)
    depth = full_depth(checked)
    file = folder / f"{pair.name}-fused.png"
    write_image(file, to_depth(levels, depth), _carried(pair, levels, first, second))
    return Result(pictures, sources, maps, note_lines(checked.notes), file, depth)


def check_pair(a: Path, b: Path, task: str, reading: Reading) -> Checked:
    """Checks two files as `refusion.images.pair_check` does; there is one good pair then.

    Raises:
        UserError: it is bad; a line for each problem.
    """
    names = {a: f"{a.name} (a)", b: f"{b.name} (b)"} if a.name == b.name else {a: a.name, b: b.name}
    checked = check_matched(Matched([(stem_of(a), a, b)], []), names, task, reading=reading)
    if checked.problems:
        raise UserError("\n".join(f"{problem.file}: {problem.what}" for problem in checked.problems))
    return checked


def full_depth(checked: Checked) -> Depth:
    """Returns 16 where a source has more than 8 bits, else 8."""
    bits = [re.search(r"(\d+) bits", facts.about) for facts in checked.facts.values()]
    return 16 if any(found is None or int(found[1]) > 8 for found in bits) else 8


def _carried(
    pair: Pair, levels: npt.NDArray[np.float32], a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]
) -> Carried:
    """Returns what goes along with the result: of the source that gives the colour, else of the other."""
    files = (pair.b, pair.a) if has_colour(b) and not has_colour(a) else (pair.a, pair.b)
    one, other = (read_carried(Path(file), colour=levels.ndim == 3) for file in files)
    return Carried(one.icc or other.icc, one.exif or other.exif, one.dpi or other.dpi)


def _shown(levels: npt.NDArray[np.float32]) -> Image:
    shown: Image = to_depth(levels, 8)  # type: ignore[assignment]
    return shown
