"""An in-memory store of decoded pairs, bounded in bytes, and batches of crops from it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from refusion.config.ranges import DEFAULT_MEGAPIXELS
from refusion.images.colour import luminance
from refusion.images.crops import CropPlan, apply_crop
from refusion.images.pairs import Pair
from refusion.images.reading import GreyLevels, open_source, read_image, read_source

# A plane (H, W) or an original, which may be (H, W, 3).
Kept = NDArray[np.uint8] | NDArray[np.float32]


class PairStore:
    """Sources of checked pairs, read when first asked for.

    What was asked for last stays in memory, luminance planes or originals, in all at most ``cache_bytes`` (0: none); a
    pair that is larger than that by itself is never cached. 8-bit sources are held as uint8 (1 byte a value), but for
    the luminance of coloured ones, and all others as float32 (4 bytes), each exactly. Threads may share a store.

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
        self._cache: OrderedDict[tuple[str, int], tuple[Kept, Kept]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def cached_bytes(self) -> int:
        """Bytes that the pictures in memory take now."""
        return self._bytes

    def sources(self, index: int) -> NDArray[np.float32]:
        """Returns the luminance of a and b at full size, (2, H, W) float32 in [0, 1].

        Raises:
            UserError: a file can no longer be read, or has another size than when it was checked.
        """
        return np.stack([as_unit(plane) for plane in self.planes(index)])

    def originals(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns a and b in grey levels, for their colour; not to be written into. Raises as ``sources``."""
        a, b = self._kept("originals", index, lambda: self._read(index))
        return a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)

    def batch(self, plans: Sequence[CropPlan], crop: int) -> NDArray[np.float32]:
        """Returns the planned crops, (B, 2, crop, crop) float32 in [0, 1], contiguous. Raises as ``sources``."""
        out = np.empty((len(plans), 2, crop, crop), np.float32)
        for row, plan in zip(out, plans, strict=True):
            for channel, plane in zip(row, self.planes(plan.index), strict=True):
                channel[:] = as_unit(apply_crop(plane[None], plan, crop)[0])
        return out

    def planes(self, index: int) -> tuple[Kept, Kept]:
        """Returns the luminance of a and b at full size, (H, W) each: uint8 in 0–255, or float32 in [0, 1].

        Raises:
            UserError: as ``sources``.
        """
        return self._kept("planes", index, lambda: tuple(map(_plane, self._read(index))))

    def _read(self, index: int) -> tuple[Kept, Kept]:
        a, b = map(_smaller, read_pair(self.pairs[index]))
        return a, b

    def _kept(self, kind: str, index: int, make: Callable[[], tuple[Kept, ...]]) -> tuple[Kept, Kept]:
        with self._lock:
            if (kind, index) in self._cache:
                self._cache.move_to_end((kind, index))
                return self._cache[kind, index]
        a, b = make()
        self._add_to_cache((kind, index), (a, b))
        return a, b

    def _add_to_cache(self, key: tuple[str, int], pictures: tuple[Kept, Kept]) -> None:
        size = _size(pictures)
        with self._lock:
            if size > self.cache_bytes or key in self._cache:
                return
            while self._bytes + size > self.cache_bytes:
                self._bytes -= _size(self._cache.popitem(last=False)[1])
            self._cache[key] = pictures
            self._bytes += size


def cache_beside(pairs: Sequence[Pair], cache_bytes: int) -> int:
    """Returns the bytes of a bound that a store of these pairs leaves for another's, whatever its planes are held as.

    >>> cache_beside([Pair("one", "a.png", "b.png", 8, 6, digest="")], 1000)
    616
    """
    planes = sum(2 * pair.height * pair.width * np.dtype(np.float32).itemsize for pair in pairs)
    return max(0, cache_bytes - planes)


def read_pair(pair: Pair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the grey levels of a checked pair's sources, each (H, W) or (H, W, 3), float32 in 0–255.

    Raises:
        UserError: a file can no longer be read, or has another size than when it was checked.
    """
    size = pair.height, pair.width
    return read_source(Path(pair.a), pair.range_a, size), read_source(Path(pair.b), pair.range_b, size)


def open_pair(pair: Pair) -> tuple[GreyLevels, GreyLevels]:
    """Returns a checked pair's sources, to be taken by rows: they take no more memory than their samples.

    Raises:
        UserError: as ``read_pair``.
    """
    size = pair.height, pair.width
    return open_source(Path(pair.a), pair.range_a, size), open_source(Path(pair.b), pair.range_b, size)


def _smaller(image: NDArray[np.float32]) -> Kept:
    """Returns the same values in a byte each where they are whole."""
    small = image.astype(np.uint8)
    return small if np.array_equal(small, image) else image


def read_beside(file: Path, pair: Pair) -> NDArray[np.float32]:
    """Returns the grey levels of a picture that goes with a pair, fused or true; it may be as large as its sources.

    Raises:
        UserError: as ``read_image``.
    """
    return read_image(file, max(DEFAULT_MEGAPIXELS, pair.height * pair.width / 1e6))


def _plane(image: Kept) -> Kept:
    return image if image.ndim == 2 and image.dtype == np.uint8 else luminance(image)


def as_unit(plane: Kept) -> NDArray[np.float32]:
    """Returns a plane in [0, 1], (H, W) float32."""
    return luminance(plane) if plane.dtype == np.uint8 else plane.astype(np.float32, copy=False)


def _size(pictures: tuple[Kept, Kept]) -> int:
    return sum(picture.nbytes for picture in pictures)
