"""Normal noise of the channel through which the reconstruction module sees fused images."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FIELD = 1024
"""Side of the field of noise, pixels."""


@lru_cache(maxsize=8)
def noise_field(seed: int, task: str) -> NDArray[np.float32]:
    """Draws a field of normal noise, (FIELD, FIELD) of mean 0 and deviation 1, from which every image's noise is cut.

    A field, not new numbers in every step: those would take longer than the step itself on a GPU.

    >>> field = noise_field(0, "MIF")
    >>> field.shape, bool(abs(field.std() - 1) < 0.01)
    ((1024, 1024), True)
    """
    half = FIELD * FIELD // 2
    key = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(task.encode()), zlib.crc32(b"noise")))
    # Box and Muller's way, from raw words: NumPy does not guarantee its own normal numbers from version to version.
    words = np.random.Philox(key).random_raw(2 * half) >> np.uint64(11)
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(uniform[:half])), 2 * np.pi * uniform[half:]
    field = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)]).astype(np.float32)
    field.setflags(write=False)
    return field.reshape(FIELD, FIELD)
