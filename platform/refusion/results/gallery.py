"""A row of pictures of the pair on which methods differ most, each with the window where they do, magnified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from refusion.evaluation.results import MethodScores
from refusion.fuse.insets import Image, Window

MOST_BYTES = 300_000
_HEIGHT = 288
_LABEL, _GAP = 24, 6
# Side of the window's magnification, as a share of the picture's shorter side.
_INSET = 0.45
_FRAME = (255, 140, 0)


def most_different_pair(methods: Sequence[MethodScores], metric: str = "Qabf") -> str:
    """Returns the name of the pair on which the methods' scores are furthest apart.

    Args:
        methods: at least two, scored on the same pairs.
        metric: that is looked at.
    """
    scores = np.stack([method.frame[metric].to_numpy() for method in methods])
    spread = np.nan_to_num(scores.max(axis=0) - scores.min(axis=0), nan=-1.0)
    return str(methods[0].frame.index[int(spread.argmax())])


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
