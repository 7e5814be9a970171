"""Pictures of a group's runs for a page: each pair by every run, its sources, insets and weight maps."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from refusion.fuse.insets import Image, Window, most_different_window
from refusion.images.colour import luminance, restore_colour
from refusion.reporting.comparison.groups import Group
from refusion.tasks import find_task
from refusion.tracking.comparison.pictures import RunPictures
from refusion.tracking.comparison.scores import AVERAGE

MOST_PAIRS = 4
MOST_RUNS = 8
# Pixels of the longer side, and JPEG's quality, of what is looked at as a whole; insets are exact.
_SIDE, _QUALITY = 800, 90
_MAPS_WIDTH = 640


@dataclass(frozen=True)
class Shown:
    """One pair as the page shows it.

    Attributes:
        pair: its name.
        pictures: JPEG as data URIs by label: both sources, the average, then the runs.
        window: where the fused pictures differ most: left, top, width and height as shares of the picture, 0 to 1;
            None with fewer than two of them.
        insets: that window as PNG of exact pixels, by label; empty without one.
        weights: maps of the proposed weights by run.
        epochs: of the pictures, by run.
    """

    pair: str
    pictures: dict[str, str]
    window: tuple[float, float, float, float] | None
    insets: dict[str, str]
    weights: dict[str, str]
    epochs: dict[str, int]

    @property
    def fused(self) -> list[str]:
        """Labels of the fused pictures, the average's first where there is one."""
        return [label for label in self.pictures if label in self.epochs or label == AVERAGE]


def gallery_of(group: Group) -> list[Shown]:
    """Returns the pairs that have a recorded picture of some run, at its best epoch or else at its last.

    At most four pairs and the newest eight runs are shown.
    """
    names = list(group.runs)[-MOST_RUNS:]
    readers = {
        name: RunPictures(group.runs[name].uri, group.runs[name].run_id) for name in names if group.runs[name].trained
    }
    pairs = [
        pair
        for pair in group.methods[0].frame.index
        if any(reader.epochs("fused", str(pair)) for reader in readers.values())
    ]
    return [_shown(group, str(pair), readers) for pair in pairs[:MOST_PAIRS]]


def _shown(group: Group, pair: str, readers: Mapping[str, RunPictures]) -> Shown:
    fused: dict[str, Image] = {}
    weights: dict[str, str] = {}
    epochs: dict[str, int] = {}
    sources: list[Image] = []
    for name, reader in readers.items():
        there = reader.epochs("fused", pair)
        if not there:
            continue
        best = group.runs[name].epoch
        epoch = best if best in there else there[-1]
        picture = reader.read("fused", pair, epoch)
        if picture is None:
            continue
        fused[name], epochs[name] = picture, epoch
        maps = reader.read("weights", pair, epoch)
        if maps is not None:
            weights[name] = _png(_at_most(maps, _MAPS_WIDTH))
        if not sources:
            found = [reader.source(pair, "a"), reader.source(pair, "b")]
            sources = [source for source in found if source is not None]
    # Pictures of another size are of another pair of that name.
    size = next(iter(fused.values())).shape[:2]
    fused = {name: picture for name, picture in fused.items() if picture.shape[:2] == size}
    whole: dict[str, Image] = {}
    if len(sources) == 2 and all(source.shape[:2] == size for source in sources):
        facts = find_task(group.task)
        whole = {f"a: {facts.a}": sources[0], f"b: {facts.b}": sources[1]}
        fused = {AVERAGE: _average(*sources), **fused}
    window = most_different_window(list(fused.values())) if len(fused) > 1 else None
    whole |= fused
    return Shown(
        pair,
        {label: _jpeg(_at_most(picture, _SIDE)) for label, picture in whole.items()},
        _shares(window, size) if window else None,
        {label: _png(window.of(picture)) for label, picture in whole.items()} if window else {},
        {name: maps for name, maps in weights.items() if name in fused},
        {name: epoch for name, epoch in epochs.items() if name in fused},
    )


def _average(a: Image, b: Image) -> Image:
    """Returns the plain average as it is scored: of the luminances, with the sources' colour."""
    first, second = a.astype(np.float32), b.astype(np.float32)
    mean = np.stack([luminance(first), luminance(second)]).mean(axis=0) * np.float32(255)
    return restore_colour(mean, first, second)


def _shares(window: Window, size: Sequence[int]) -> tuple[float, float, float, float]:
    height, width = size
    return window.x / width, window.y / height, window.side / width, window.side / height


def _at_most(picture: Image, side: int) -> Image:
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    width, height = (max(1, round(value * scale)) for value in picture.shape[1::-1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _jpeg(picture: Image) -> str:
    return _uri("jpeg", cv2.imencode(".jpg", _bgr(picture), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())


def _png(picture: Image) -> str:
    return _uri("png", cv2.imencode(".png", _bgr(picture), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())


def _bgr(picture: Image) -> Image:
    return picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
