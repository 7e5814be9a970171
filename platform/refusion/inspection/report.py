"""Facts about the pairs of a data set: what they are, what is wrong with them, and what looks suspicious."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from refusion.config.ranges import Reading
from refusion.images.colour import luminance
from refusion.images.layouts.division import near_duplicates
from refusion.images.pair_check import find_and_check
from refusion.images.pairs import Checked, Pair, note_lines
from refusion.images.store import read_pair
from refusion.inspection.measures import Exposure, Shift, exposure_of, focus_shares, sharpness_of, shift_of

OnProgress = Callable[[str, int, int], None]

# A shift is worth a word beyond so many pixels, where it makes the edges agree by so much more.
WORTH_A_WORD, _GAIN = 4.0, 0.04
_LEAST_FOCUS = 0.02
_MOST_THREADS = 8
_THUMBNAIL = 150


@dataclass(frozen=True)
class PairReport:
    """Measures of one pair.

    Attributes:
        pair: the pair.
        shift: of b against a.
        exposures: of a and b.
        sharpness: variance of the Laplacian of a and b, grey levels squared.
        focus: fractions of the picture where a, and where b, is clearly the sharper one.
        warnings: sentences without a subject.
        thumbnails: JPEG files of a and b; empty where the sheet has no room.
    """

    pair: Pair
    shift: Shift
    exposures: tuple[Exposure, Exposure]
    sharpness: tuple[float, float]
    focus: tuple[float, float]
    warnings: tuple[str, ...]
    thumbnails: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class SplitReport:
    """One split of a task.

    Attributes:
        task, split: its names.
        checked: the outcome of the pair check.
        pairs: measures of the good pairs.
    """

    task: str
    split: str
    checked: Checked
    pairs: list[PairReport] = field(default_factory=list)

    @property
    def sizes(self) -> str:
        """The commonest sizes of its pairs, and how many others there are."""
        return _commonest(f"{one.pair.width}×{one.pair.height}" for one in self.pairs)

    def kinds(self, side: int) -> str:
        """Formats, depths and channels of source a (0) or b (1)."""
        facts = [self.checked.facts[(one.pair.a, one.pair.b)[side]] for one in self.pairs]
        return _commonest(f"{fact.about.replace(',', '')} {'grey' if fact.channels == 1 else 'RGB'}" for fact in facts)

    @property
    def shifted(self) -> list[PairReport]:
        """Pairs whose sources seem to be shifted."""
        return [one for one in self.pairs if is_shifted(one.shift)]


@dataclass(frozen=True)
class Duplicates:
    """Two pairs that look alike, by their splits and names."""

    first: tuple[str, str]
    second: tuple[str, str]

    @property
    def cross(self) -> bool:
        """True where they are in two splits: what is learned from one is no test on the other."""
        return self.first[0] != self.second[0]


def is_shifted(shift: Shift) -> bool:
    """Returns True for a shift of some pixels that the pictures' edges bear out."""
    return shift.length > WORTH_A_WORD and shift.gain >= _GAIN


def shift_in_words(shift: Shift) -> str:
    """Returns the shift, or that the pictures do not say it: one that makes no edges agree is a guess."""
    if shift.length > WORTH_A_WORD and shift.gain < _GAIN:
        return "shift unclear"
    return f"shift {shift.down:+.0f}, {shift.right:+.0f}"


def offset_in_words(shift: Shift) -> str:
    """Returns where b lies, seen from a, in whole pixels.

    >>> offset_in_words(Shift(-3.2, 5.0, 0.5, 0.1)), offset_in_words(Shift(0.3, -1.0, 0.5, 0.1))
    ('3 pixels up and 5 right', '1 pixel left')
    """
    down, right = round(shift.down), round(shift.right)
    parts = [(abs(down), "down" if down > 0 else "up")] * bool(down)
    parts += [(abs(right), "right" if right > 0 else "left")] * bool(right)
    if not parts:
        return "0 pixels right"
    (count, way), *others = parts
    first = f"{count} pixel{'' if count == 1 else 's'} {way}"
    return " and ".join([first, *(f"{other} {where}" for other, where in others)])


def inspect_split(
    root: Path, task: str, split: str, reading: Reading, *, sheet: int = 0, progress: OnProgress | None = None
) -> SplitReport:
    """Checks one split and measures its good pairs.

    Args:
        root: the data set's folder.
        task, split: names.
        reading: how sources are found and read.
        sheet: number of pairs, evenly spread, that get thumbnails.
        progress: called with (what is done, pairs done, pairs in all).

    Raises:
        UserError: as ``find_and_check``.
    """
    tell = progress or (lambda _what, _done, _of: None)
    place = f"{task}/{split}"
    checked = find_and_check(
        root, task, split, reading=reading, progress=lambda done, of: tell(f"checking {place}", done, of)
    )
    shown = set(np.linspace(0, len(checked.pairs) - 1, min(sheet, len(checked.pairs))).round().astype(int).tolist())
    reports: list[PairReport] = []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        tasks = [pool.submit(_measure, pair, task, at in shown) for at, pair in enumerate(checked.pairs)]
        for done, one in enumerate(tasks, start=1):
            reports.append(one.result())
            tell(f"measuring {place}", done, len(tasks))
    return SplitReport(task, split, checked, reports)


def find_duplicates(splits: Sequence[SplitReport]) -> list[Duplicates]:
    """Returns pairs of one task that look alike, those in two splits first."""
    members = [(one.split, report.pair) for one in splits for report in one.pairs]
    found = near_duplicates([(pair.name, Path(pair.a), Path(pair.b)) for _, pair in members])
    named = [(split, pair.name) for split, pair in members]
    duplicates = [Duplicates(named[first], named[second]) for first, second in found]
    return sorted(duplicates, key=lambda one: (not one.cross, one.first, one.second))


def lines_of(report: SplitReport) -> list[str]:
    """Returns what is to be said of a split, a line each."""
    checked = report.checked
    lines = note_lines(checked.notes)
    lines.append(f"{len(report.pairs)} pairs, {len(checked.problems)} problems; {report.sizes or 'no size'}")
    if not report.pairs:
        return lines
    lines += [f"{side}: {report.kinds(at)}; {_exposure_line(report, at)}" for at, side in enumerate("ab")]
    shifts = sorted(one.shift.length for one in report.pairs if one.shift.gain >= _GAIN)
    largest = f", at most {shifts[-1]:.1f} pixels" if shifts else ""
    lines.append(f"shifts between a and b that their edges bear out: {len(shifts)}{largest}")
    warned = [one for one in report.pairs if one.warnings]
    lines += [f"warning: {one.pair.name} {'; '.join(one.warnings)}" for one in warned[:10]]
    if len(warned) > 10:
        lines.append(f"… and {len(warned) - 10} more pairs with a warning")
    return lines


def _exposure_line(report: SplitReport, side: int) -> str:
    exposures = [one.exposures[side] for one in report.pairs]
    mean, dark, bright = (np.mean([getattr(one, name) for one in exposures]) for name in ("mean", "dark", "bright"))
    sharpness = np.median([one.sharpness[side] for one in report.pairs])
    sharper = np.mean([one.focus[side] for one in report.pairs])
    return (
        f"mean grey {255 * mean:.0f}, too dark {dark:.0%}, too bright {bright:.0%}, sharpness {sharpness:.0f}, "
        f"sharper in {sharper:.0%} of the picture"
    )


def _measure(pair: Pair, task: str, shown: bool) -> PairReport:
    a, b = read_pair(pair)
    planes = luminance(a), luminance(b)
    shift = shift_of(*planes)
    exposures = exposure_of(planes[0]), exposure_of(planes[1])
    focus = focus_shares(*planes)
    thumbnails = (_thumbnail(a), _thumbnail(b)) if shown else ()
    sharpness = sharpness_of(planes[0]), sharpness_of(planes[1])
    return PairReport(pair, shift, exposures, sharpness, focus, _warnings(task, shift, exposures, focus), thumbnails)


def _warnings(
    task: str, shift: Shift, exposures: tuple[Exposure, Exposure], focus: tuple[float, float]
) -> tuple[str, ...]:
    found = []
    if is_shifted(shift):
        found.append(f"seems to be shifted: b lies {offset_in_words(shift)} of a")
    if task == "MEIF" and exposures[0].mean > exposures[1].mean:
        found.append("has the brighter picture as a: a is the under-exposed one")
    if task == "MFIF" and min(focus) < _LEAST_FOCUS:
        found.append(f"has no part in which {'ab'[focus.index(min(focus))]} is clearly the sharper one")
    return tuple(found)


def _thumbnail(image: NDArray[np.float32]) -> bytes:
    height, width = image.shape[:2]
    scale = min(1.0, _THUMBNAIL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).clip(0, 255).astype(np.uint8)
    ordered = np.ascontiguousarray(small[..., ::-1]) if small.ndim == 3 else small
    return bytes(cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())


def _commonest(texts: Iterable[str]) -> str:
    counts = Counter(texts)
    most = [f"{text} ({count})" if len(counts) > 1 else str(text) for text, count in counts.most_common(3)]
    return ", ".join(most) + (f" and {len(counts) - 3} more kinds" if len(counts) > 3 else "")
