"""An in-memory store of decoded pairs, bounded in bytes, and batches of crops from it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from refusion.images.colour import luminance
from refusion.images.crops import CropPlan, apply_crop
from refusion.images.pairs import Pair
from refusion.images.reading import read_source

Plane = NDArray[np.uint8] | NDArray[np.float32]


class PairStore:
    """Sources of checked pairs, read when first asked for.

    The luminance planes of the pairs used last stay in memory, in all at most ``cache_bytes`` (0: none); a pair that
    is larger than that by itself is never cached. 8-bit grey sources are held as uint8 (1 byte a pixel), all others as
    float32 (4 bytes), both exactly. Threads may share a store.

    Args:
        pairs: as ``find_and_check`` returned them.
        cache_bytes: the bound, in bytes.

    Example:
        >>> import tempfile
        >>> from refusion.images import plan_meta, write_image
        >>> files = [Path(tempfile.mkdtemp()) / name for name in ("a.png", "b.png")]
        >>> for file, grey in zip(files, (0, 255)):
        ...     write_image(file, np.full((8, 6), grey, np.uint8))
        >>> store = PairStore([Pair("one", str(files[0]), str(files[1]), 8, 6, digest="")])
        >>> store.sources(0).shape, store.cached_bytes
        ((2, 8, 6), 96)
        >>> store.batch(plan_meta(0, "MIF", 0, range(3), len(store)), crop=4).shape
        (3, 2, 4, 4)
    """

    def __init__(self, pairs: Sequence[Pair], cache_bytes: int = 1 << 30) -> None:
        self.pairs = tuple(pairs)
        self.cache_bytes = cache_bytes
        self._cache: OrderedDict[int, tuple[Plane, Plane]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def cached_bytes(self) -> int:
        """Bytes that the planes in memory take now."""
        return self._bytes

    def sources(self, index: int) -> NDArray[np.float32]:
        """Returns the luminance of a and b at full size, (2, H, W) float32 in [0, 1].

        Raises:
            UserError: a file can no longer be read, or has another size than when it was checked.
        """
        return np.stack([_as_unit(plane) for plane in self._planes(index)])

    def originals(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns a and b in grey levels, for their colour; read anew each time. Raises as ``sources``."""
        return read_pair(self.pairs[index])

    def batch(self, plans: Sequence[CropPlan], crop: int) -> NDArray[np.float32]:
        """Returns the planned crops, (B, 2, crop, crop) float32 in [0, 1], contiguous. Raises as ``sources``."""
        out = np.empty((len(plans), 2, crop, crop), np.float32)
        for row, plan in zip(out, plans, strict=True):
            for channel, plane in zip(row, self._planes(plan.index), strict=True):
                channel[:] = _as_unit(apply_crop(plane[None], plan, crop)[0])
        return out

    def _planes(self, index: int) -> tuple[Plane, Plane]:
        with self._lock:
            if index in self._cache:
                self._cache.move_to_end(index)
                return self._cache[index]
        a, b = (_plane(image) for image in self.originals(index))
        self._add_to_cache(index, (a, b))
        return a, b

    def _add_to_cache(self, index: int, planes: tuple[Plane, Plane]) -> None:
        size = _size(planes)
        with self._lock:
            if size > self.cache_bytes or index in self._cache:
                return
            while self._bytes + size > self.cache_bytes:
                self._bytes -= _size(self._cache.popitem(last=False)[1])
            self._cache[index] = planes
            self._bytes += size


def read_pair(pair: Pair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the grey levels of a checked pair's sources, each (H, W) or (H, W, 3), float32 in 0–255.

    Raises:
        UserError: a file can no longer be read, or has another size than when it was checked.
    """
    size = pair.height, pair.width
    return read_source(Path(pair.a), pair.range_a, size), read_source(Path(pair.b), pair.range_b, size)


def _plane(image: NDArray[np.float32]) -> Plane:
    if image.ndim == 2:
        small = image.astype(np.uint8)
        if np.array_equal(small, image):
            return small
    return luminance(image)


def _as_unit(plane: Plane) -> NDArray[np.float32]:
    return luminance(plane) if plane.dtype == np.uint8 else plane.astype(np.float32, copy=False)


def _size(planes: tuple[Plane, Plane]) -> int:
    return sum(plane.nbytes for plane in planes)
