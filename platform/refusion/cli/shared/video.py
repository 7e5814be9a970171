"""The options of videos, and what tells that one is asked for."""

from __future__ import annotations

import argparse
from fractions import Fraction

from refusion.errors import UserError

_OTHERS = {
    "map": "--map", "adapt": "--adapt", "workers": "--workers", "stop_at_first_bad": "--stop-at-first-bad",
}  # fmt: skip


def add_video_options(parser: argparse._ActionsContainer) -> None:
    """Adds ``--fps``."""
    parser.add_argument("--fps", metavar="N", help="frames a second where folders of frames become a video [25]")


def video_is_asked(options: argparse.Namespace) -> bool:
    """Returns True where ``--out`` or a source is a video, after a look at the options that go with it.

    Raises:
        UserError: some do not.
    """
    from refusion.images.video.footage import is_video

    if not any(map(is_video, (options.a, options.b, options.out, *options.sources))):
        if options.fps is not None:
            raise UserError("--fps goes with a video: name one by --out, as --out fused.mp4")
        return False
    for name, option in _OTHERS.items():
        if getattr(options, name):
            raise UserError(f"{option}: is for pictures; leave it out where --out is a video")
    if options.sources:
        raise UserError("--sources: stacks are of pictures; a video is fused of two videos or folders, --a and --b")
    if options.depth != 8 or options.format != "png":
        raise UserError("--depth and --format: are for pictures; a video has 8 bits, and its suffix says the format")
    return True


def rate_from(options: argparse.Namespace) -> Fraction | None:
    """Returns ``--fps``, such as 25, 29.97 or 30000/1001; None where it is not given.

    Raises:
        UserError: it is no number above zero.
    """
    if options.fps is None:
        return None
    try:
        rate = Fraction(options.fps)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise UserError(f"--fps {options.fps}: must be a number above 0 and up to 1000, as 25 or 30000/1001")
    return rate
