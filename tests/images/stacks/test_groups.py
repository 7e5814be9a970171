from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from refusion.config.ranges import RangeRule, Reading
from refusion.images.stacks.groups import Sides, check_groups

GREY = np.arange(96, dtype=np.uint8).reshape(8, 12)


def _kind_of_problem(folder: Path, a: Any, b: Any) -> str | None:
    files = [folder / "a.tif", folder / "b.tif"]
    for file, pixels in zip(files, (a, b), strict=True):
        tifffile.imwrite(file, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    rule = RangeRule("data")
    names = {file: file.name for file in files}
    checked = check_groups([("x", files)], names, "IVIF", Reading(), Sides("ab", [rule, rule]))
    assert len(checked.groups) + len(checked.problems) == 1
    return checked.problems[0].kind if checked.problems else None


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (GREY, GREY, True),
        (GREY, np.dstack([GREY] * 3), True),
        (np.dstack([GREY] * 3), GREY, True),
        (GREY, np.asfortranarray(GREY), True),
        (GREY, GREY[::-1], False),
        (GREY, GREY.astype(np.uint16), False),
        (GREY.astype(np.float32), GREY.astype(np.float64), True),
        (GREY, np.dstack([GREY, GREY, GREY[::-1]]), False),
        (np.dstack([GREY, GREY, GREY[::-1]]), np.dstack([GREY, GREY, GREY[::-1]]), True),
    ],
)
def test_equal_pixels_are_the_same_picture(tmp_path: Path, a: Any, b: Any, same: bool) -> None:
    assert _kind_of_problem(tmp_path, a, b) == ("same picture" if same else None)
