"""Every cell of the tables of videos in docs/your-data.md."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures.clips import encode, frames, number_of

from refusion.config.ranges import Reading
from refusion.images.video.footage import Footage, check_footage
from refusion.images.video.reading import VIDEO_SUFFIXES, read_frames
from refusion.images.video.writing import WRITABLE_VIDEOS, written_video

pytest.importorskip("av")

DOCS = Path(__file__).resolve().parents[3] / "docs" / "your-data.md"
EXACT, RANGE, RGB, DEEP, GREY = (
    "exact",
    "÷ 257, or a narrow range stretched, one for all frames",
    "RGB, 8 bits",
    "RGB, 16 bits, as above",
    "grey",
)
GREYS, COLOURS = frames(), frames(colour=True)
COUNTS = [(picture.astype(np.uint16) * 3 + 7000).astype(np.uint16) for picture in GREYS]
FULL = [(picture.astype(np.uint16) * 257).astype(np.uint16) for picture in GREYS]


def _checked(folder: Path, file: Path) -> Footage:
    other = encode(folder / "other.mkv", frames(seed=9), "gray")
    return check_footage(file, other, "IVIF", Reading())


def _levels(footage: Footage) -> list[Any]:
    return [a for a, _, _ in footage.frames()]


def _grey(folder: Path) -> None:
    footage = _checked(folder, encode(folder / "x.mkv", GREYS, "gray"))
    assert np.array_equal(_levels(footage), GREYS)
    assert not footage.coloured


def _deep_grey(folder: Path) -> None:
    full = _checked(folder, encode(folder / "full.mkv", FULL, "gray16le"))
    np.testing.assert_allclose(_levels(full), GREYS, atol=1e-3)
    assert not full.notes
    narrow = _checked(folder, encode(folder / "counts.mkv", COUNTS, "gray16le"))
    np.testing.assert_allclose(_levels(narrow), np.array(GREYS, float) * 255 / 250, atol=4)
    assert "become 0 to 255, in all frames" in narrow.notes[0]


def _colour(folder: Path) -> None:
    footage = _checked(folder, encode(folder / "x.mkv", COLOURS, "rgb24", pix_fmt="bgr0"))
    assert np.array_equal(_levels(footage), COLOURS)
    assert footage.coloured


def _deep_colour(folder: Path) -> None:
    deep = [picture.astype(np.uint16) * 257 for picture in COLOURS]
    footage = _checked(folder, encode(folder / "x.mkv", deep, "rgb48le", pix_fmt="gbrp10le"))
    np.testing.assert_allclose(_levels(footage), COLOURS, atol=1)


def _grey_as_colour(folder: Path) -> None:
    footage = _checked(folder, encode(folder / "x.mp4", GREYS, "gray", codec="libx264", pix_fmt="yuv420p"))
    assert not footage.coloured
    assert [picture.ndim for picture in _levels(footage)] == [2] * 6


READ: dict[str, tuple[str, Callable[[Path], None]]] = {
    "grey, 8 bits": (EXACT, _grey),
    "grey, 9 to 16 bits": (RANGE, _deep_grey),
    "colour, 8 bits": (RGB, _colour),
    "colour, 9 to 16 bits": (DEEP, _deep_colour),
    "colour whose channels are never more than 8 of 255 levels apart": (GREY, _grey_as_colour),
}
WRITTEN = {
    ".mp4": "H.264, 4:2:0, or 4:4:4 where a side is odd",
    ".mov": "H.264, 4:2:0, or 4:4:4 where a side is odd",
    ".mkv": "FFV1, which loses nothing",
}


def table() -> str:
    lines = ["| frames of a video | become |", "| --- | --- |"]
    lines += [f"| {name} | {outcome} |" for name, (outcome, _) in READ.items()]
    lines += ["", "| `--out` | holds |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{suffix}` | {outcome} |" for suffix, outcome in WRITTEN.items())])


def test_the_page_has_the_tables_and_suffixes() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert table() in text
    assert set(WRITTEN) == set(WRITABLE_VIDEOS)
    assert [suffix for suffix in VIDEO_SUFFIXES if f"`{suffix}`" not in text] == []


@pytest.mark.parametrize("name", READ)
def test_what_is_read(tmp_path: Path, name: str) -> None:
    READ[name][1](tmp_path)


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("odd", [0, 1])
def test_what_is_written(tmp_path: Path, suffix: str, grey: bool, odd: int) -> None:
    pictures = [picture[odd:, odd:] for picture in (GREYS if grey else COLOURS)]
    file, rate = tmp_path / f"x{suffix}", Fraction(30000, 1001)
    with written_video(file, pictures[0].shape[:2], rate, grey=grey) as video:
        for picture in pictures:
            video.add(picture)
    back = list(read_frames(file))
    values = [frame.samples.values for frame in back]
    assert [value.shape[:2] for value in values] == [picture.shape[:2] for picture in pictures]
    padded = [np.pad(value, ((odd, 0), (odd, 0), (0, 0))[: value.ndim]) for value in values]
    assert [number_of(value) for value in padded] == list(range(6))
    for number, (value, picture) in enumerate(zip(values, pictures, strict=True)):
        if suffix == ".mkv":
            assert np.array_equal(value, picture)
        else:
            # Fine noise in colour is what 4:2:0 loses; its mean over an area is not.
            assert np.abs(value.mean() - picture.mean()) < 2
        assert float(back[number].time or 0) == pytest.approx(number / float(rate), abs=1e-3)
