"""Pairs divided into splits by scenes: pictures of one scene, or that look alike, stay together."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refusion.config.arrangement import Division
from refusion.errors import UserError
from refusion.images.colour import luminance
from refusion.images.reading import UnreadableImageError, read_image

Named = tuple[str, Path, Path]

# Bits of 64 in which perceptual hashes of one scene may differ: frames of a film do in fewer, other scenes in some 30.
NEAR = 10
# Last number of a name, with what separates it: frame_0012, 00012D.
_COUNTER = re.compile(r"[-_. ]*\d+[A-Za-z]?$")
_ROWS_AT_ONCE = 512


def divide(
    pairs: Sequence[Named], division: Division, scenes_told: Mapping[str, str] | None = None
) -> dict[str, list[Named]]:
    """Divides pairs by whole scenes, the same way each time.

    Two pairs are of one scene where their names differ in the last number only (unless half of all names do, which then
    is a mere counter), or where both sources look alike (perceptual hash). Scenes go, from the largest on, to the split
    that lacks most of its share.

    Args:
        pairs: name, file a, file b.
        division: splits and their shares.
        scenes_told: scene of each name, where the data set's names tell it.

    Raises:
        UserError: there are fewer scenes than splits.
    """
    scenes = _scenes(pairs, scenes_told or {})
    members: dict[int, list[Named]] = {}
    for scene, pair in zip(scenes, pairs, strict=True):
        members.setdefault(scene, []).append(pair)
    if len(members) < len(division):
        raise UserError(
            f"--split: the {len(pairs)} pairs are of {len(members)} scene(s) by their names and looks, so they cannot "
            f"be divided into {' and '.join(split for split, _ in division)}; give folders of these names"
        )
    divided: dict[str, list[Named]] = {split: [] for split, _ in division}
    targets = {split: share * len(pairs) for split, share in division}
    for scene in sorted(members.values(), key=_largest_first):
        lacking = max(targets, key=lambda split: (targets[split] - len(divided[split])) / targets[split])
        divided[lacking] += scene
    return {split: sorted(some) for split, some in divided.items()}


def near_duplicates(pairs: Sequence[Named]) -> list[tuple[int, int]]:
    """Returns the positions of pairs of pairs that look alike in both sources."""
    readable = [(at, hashes) for at, (_, a, b) in enumerate(pairs) if (hashes := _hashes(a, b)) is not None]
    if not readable:
        return []
    positions = [at for at, _ in readable]
    bits = np.array([hashes for _, hashes in readable], np.uint64)
    found: list[tuple[int, int]] = []
    for first in range(0, len(bits), _ROWS_AT_ONCE):
        rows = bits[first : first + _ROWS_AT_ONCE, None]
        far = np.bitwise_count(rows ^ bits[None]).max(axis=2)
        for row, column in np.argwhere(far <= NEAR):
            if first + row < column:
                found.append((positions[first + row], positions[column]))
    return found


def _scenes(pairs: Sequence[Named], told: Mapping[str, str]) -> NDArray[np.int32]:
    """Returns the number of each pair's scene."""
    # Here, since each process that trains would wait for it.
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = near_duplicates(pairs)
    names = [told.get(name) or _COUNTER.sub("", name) for name, _, _ in pairs]
    counts = Counter(names)
    first: dict[str, int] = {}
    for at, scene in enumerate(names):
        if scene and (pairs[at][0] in told or 2 * counts[scene] <= len(pairs)):
            links.append((first.setdefault(scene, at), at))
    rows, columns = zip(*links, strict=True) if links else ((), ())
    graph = coo_matrix((np.ones(len(links)), (rows, columns)), shape=(len(pairs), len(pairs)))
    labels: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return labels


def _largest_first(scene: Sequence[Named]) -> tuple[int, str]:
    # Pairs of one size come in an order that the names' alphabet does not set.
    return -len(scene), hashlib.sha256(min(name for name, _, _ in scene).encode()).hexdigest()


def _hashes(a: Path, b: Path) -> tuple[int, int] | None:
    try:
        return tuple(_hash(str(file), file.stat().st_mtime_ns) for file in (a, b))  # type: ignore[return-value]
    except (UnreadableImageError, OSError):
        return None


@lru_cache(maxsize=100_000)
def _hash(file: str, _changed: int) -> int:
    """Returns the perceptual hash, 64 bits, of a picture's luminance from its least to its greatest value."""
    import imagehash  # takes a second, and few ever divide

    grey = luminance(read_image(Path(file)))
    least, greatest = float(grey.min()), float(grey.max())
    scaled = (grey - least) / max(greatest - least, 1e-6) * 255
    return int(str(imagehash.phash(Image.fromarray(scaled.astype(np.uint8)))), 16)
