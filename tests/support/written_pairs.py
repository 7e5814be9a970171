"""Small pairs of pictures on disk, for tests that read a data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from refusion.images.writing import write_image

# VIF, the most demanding metric, needs 41.
HEIGHT, WIDTH = 44, 52


def write_pairs(root: Path, task: str, split: str, count: int, seed: int = 0) -> None:
    """Writes ``count`` pairs into ROOT/TASK/SPLIT/{a,b}: a grey, b in colour, no two alike."""
    random = np.random.default_rng((seed, count, len(split)))
    for number in range(count):
        scene = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        smooth = cv2.GaussianBlur(scene, (0, 0), 3.0)
        for side, image in (("a", scene[..., 0]), ("b", smooth)):
            path = root / task / split / side / f"scene_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, np.ascontiguousarray(image))


def write_noise(folder: Path, names: list[str], size: tuple[int, int] = (20, 24)) -> None:
    """Writes a pair of that name into FOLDER/a and b, grey, of (height, width) pixels, no two alike."""
    random = np.random.default_rng(0)
    for side in "ab":
        (folder / side).mkdir(exist_ok=True)
        for name in names:
            write_image(folder / side / f"{name}.png", random.integers(0, 256, size, dtype=np.uint8))
