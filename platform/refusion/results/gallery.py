"""A row of pictures of the pair on which methods differ most, each with the window where they do, magnified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from refusion.evaluation.results import MethodScores

Image = NDArray[np.uint8]
MOST_BYTES = 300_000
_HEIGHT = 288
_LABEL, _GAP = 24, 6
# Sides of the window and of its magnification, as shares of the picture's shorter side.
_WINDOW, _INSET = 0.16, 0.45
_FRAME = (255, 140, 0)


@dataclass(frozen=True)
class Window:
    """A square part of a picture, in pixels."""

    y: int
    x: int
    side: int

    def of(self, picture: Image) -> Image:
        """Returns that part."""
        return picture[self.y : self.y + self.side, self.x : self.x + self.side]


def most_different_pair(methods: Sequence[MethodScores], metric: str = "Qabf") -> str:
    """Returns the name of the pair on which the methods' scores are furthest apart.

    Args:
        methods: at least two, scored on the same pairs.
        metric: that is looked at.
    """
    scores = np.stack([method.frame[metric].to_numpy() for method in methods])
    spread = np.nan_to_num(scores.max(axis=0) - scores.min(axis=0), nan=-1.0)
    return str(methods[0].frame.index[int(spread.argmax())])


def most_different_window(pictures: Sequence[Image], share: float = _WINDOW) -> Window:
    """Returns the square in whose details fused pictures are furthest apart: largest mean of (maximum − minimum).

    Details are what is left when the mean over a square of that size is taken away: that one picture is brighter than
    another is seen without a lens.

    Args:
        pictures: at least two, (H, W) or (H, W, 3), of one size.
        share: side of the square, of the shorter side of the pictures.
    """
    height, width = pictures[0].shape[:2]
    side = max(4, round(share * min(height, width)))
    planes = [_grey(picture).astype(np.float32) for picture in pictures]
    details = np.stack([plane - cv2.blur(plane, (side, side)) for plane in planes])
    spread = details.max(axis=0) - details.min(axis=0)
    # Sums over every square that lies in the picture as a whole.
    sums = cv2.boxFilter(spread, -1, (side, side), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inside = sums[: height - side + 1, : width - side + 1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return Window(int(y), int(x), side)


def gallery_row(pictures: Mapping[str, Image], window: Window, height: int = _HEIGHT) -> Image:
    """Returns labelled pictures side by side, RGB, each with the window framed and magnified in a corner.

    Args:
        pictures: (H, W) grey or (H, W, 3) RGB by label, all of one size.
        window: the part to magnify.
        height: of each picture in the row, pixels.
    """
    panels = [_panel(label, picture, window, height) for label, picture in pictures.items()]
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for panel in panels for part in (panel, gap)]
    return np.concatenate(parts[:-1], axis=1)


def png_bytes(pictures: Mapping[str, Image], window: Window, most: int = MOST_BYTES) -> bytes:
    """Returns the row as a PNG file of at most so many bytes, as high as that allows."""
    height = _HEIGHT
    while True:
        row = gallery_row(pictures, window, height)
        done, encoded = cv2.imencode(".png", row[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        assert done
        if len(encoded) <= most or height <= 32:
            return encoded.tobytes()
        height = round(height * 0.9)


def _panel(label: str, picture: Image, window: Window, height: int) -> Image:
    scale = height / picture.shape[0]
    width = round(picture.shape[1] * scale)
    shown = _resized(_rgb(picture), (width, height))
    y, x, side = (round(value * scale) for value in (window.y, window.x, window.side))
    cv2.rectangle(shown, (x, y), (x + side, y + side), _FRAME, 1)
    inset = round(_INSET * min(width, height))
    part = cv2.resize(_rgb(window.of(picture)), (inset, inset), interpolation=cv2.INTER_NEAREST)
    # In the corner that is furthest from the window.
    top = 0 if y + side / 2 > height / 2 else height - inset
    left = 0 if x + side / 2 > width / 2 else width - inset
    shown[top : top + inset, left : left + inset] = part
    cv2.rectangle(shown, (left, top), (left + inset - 1, top + inset - 1), _FRAME, 2)
    head = np.full((_LABEL, width, 3), 255, np.uint8)
    cv2.putText(head, label, (2, _LABEL - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (31, 41, 55), 1, cv2.LINE_AA)
    return np.concatenate([head, shown])


def _resized(picture: Image, size: tuple[int, int]) -> Image:
    shrinks = size[1] < picture.shape[0]
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.ascontiguousarray(resized, dtype=np.uint8)


def _rgb(picture: Image) -> Image:
    return np.ascontiguousarray(np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture)


def _grey(picture: Image) -> Image:
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
