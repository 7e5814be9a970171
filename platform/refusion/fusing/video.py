"""A fusing of two videos, or of two folders of frames, to one video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from refusion.errors import UserError
from refusion.fuse import fuse_luminance, nearly_flat
from refusion.fusing.request import Request
from refusion.fusing.run import find_device
from refusion.images.colour import luminance, restore_colour_exact
from refusion.images.destinations import check_destination
from refusion.images.video.clip import Picture
from refusion.images.video.footage import Footage, check_footage
from refusion.images.video.reading import library
from refusion.images.video.writing import WRITABLE_VIDEOS, written_video
from refusion.images.writing import to_depth
from refusion.ops.backend import configure
from refusion.runtime.lifetime.interruption import terminated_is_interrupted
from refusion.runtime.progress_bar import progress_bar
from refusion.tracking.loading import find_checkpoint, load_module

# Frames by which the one stretch of a video is found.
STRETCH_FRAMES = 32
_BYTE = np.float32(255)


@dataclass(frozen=True)
class Levels:
    """The one map from the module's output to grey levels: ``low`` becomes 0 and ``high`` 255; clipped beyond."""

    low: float = 0.0
    high: float = 1.0

    def of(self, fused: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns (H, W) in (0, 1) as grey levels in 0–255, not rounded."""
        return np.asarray(np.clip((fused - self.low) / (self.high - self.low), 0, 1) * _BYTE, np.float32)


def fuse_video(request: Request, rate: Fraction | None = None, *, check_only: bool = False) -> int:
    """Fuses frame by frame, in bounded memory; returns the exit status.

    Frame rate, order and times are those of a. The stretch is one for the whole video, found by fusing up to 32 evenly
    spaced frames first.

    Args:
        request: a and b are two videos or two folders, ``out`` a video.
        rate: frames a second, of folders; None for 25.
        check_only: check the sources, and do nothing else.

    Raises:
        UserError: the request, a source or the module is at fault.
    """
    console = Console()
    say: Callable[[str], None] = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    out = request.out.expanduser().absolute()
    a, b = (path.expanduser().absolute() for path in (request.a, request.b))
    if not check_only:
        if out.suffix.lower() not in WRITABLE_VIDEOS:
            raise UserError(f"--out {request.out}: a video is written to a file with the suffix {_listed()}")
        library(out)
        check_destination("--out", out, [a, b])
        if out.exists() and not request.overwrite:
            raise UserError(f"--out {out}: is there already; --overwrite fuses it anew, another --out keeps both")
        device = find_device(request.device, on_ray=False)
        found = find_checkpoint(request.checkpoint, request.task, request.tracking_uri)
        module = load_module(found.folder, trust_code=request.trust_code).to(device)
        configure(device, precision=request.precision)
    with progress_bar("checking", console) as show:
        footage = check_footage(
            a, b, request.task, request.reading, rate=rate, skip_bad=request.skip_bad_pairs, progress=show
        )
    for note in footage.notes:
        say(note)
    height, width = footage.size
    timing = f"{float(footage.rate):g} frames a second" + ("" if footage.even else " on average, at their own times")
    say(f"{request.task}: {footage.count} frames of {width}×{height}, {timing}")
    if check_only:
        return 0
    say(f"{request.task}: fusing with {found.about}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: the folder cannot be made ({error.strerror})") from error
    levels = Levels()
    if request.results.stretched:
        with progress_bar("stretch", console) as show:
            levels = find_levels(module, footage, show)
    grey = request.results.grey or not footage.coloured
    with (
        terminated_is_interrupted(),
        written_video(out, footage.size, footage.rate, grey=grey, even=footage.even) as video,
        progress_bar("fusing", console) as show,
    ):
        for done, (first, second, time) in enumerate(footage.frames(), start=1):
            luma = levels.of(_fused(module, first, second))
            picture = luma if grey else restore_colour_exact(luma, first, second)
            video.add(np.asarray(to_depth(picture, 8), np.uint8), time)
            show(done, footage.count)
    say(f"{request.task}: {footage.count} frames fused in {out}")
    return 0


def find_levels(module: nn.Module, footage: Footage, show: Callable[[int, int | None], None]) -> Levels:
    """Returns the least and the greatest value of fused frames, evenly spaced ones, as black and white.

    Footage of which no source spans more than 8 of 255 grey levels in these frames is nearly flat, and not stretched.
    """
    chosen = set(np.linspace(0, footage.count - 1, min(STRETCH_FRAMES, footage.count)).round().astype(int).tolist())
    found: Levels | None = None
    seen: list[NDArray[np.float32]] = []
    for number, (first, second, _) in enumerate(footage.frames()):
        if number not in chosen:
            continue
        fused = _fused(module, first, second)
        low, high = float(fused.min()), float(fused.max())
        found = Levels(low, high) if found is None else Levels(min(low, found.low), max(high, found.high))
        extremes = [(picture.min() / _BYTE, picture.max() / _BYTE) for picture in (first, second)]
        seen.append(np.asarray(extremes, np.float32))
        show(len(seen), len(chosen))
    ranges = np.stack(seen)
    flat = nearly_flat(np.stack([ranges[:, side] for side in (0, 1)]))
    return Levels() if found is None or flat or found.high <= found.low else found


def _fused(module: nn.Module, a: Picture, b: Picture) -> NDArray[np.float32]:
    return fuse_luminance(module, np.stack([luminance(a), luminance(b)]))


def _listed() -> str:
    return f"{', '.join(WRITABLE_VIDEOS[:-1])} or {WRITABLE_VIDEOS[-1]}"
