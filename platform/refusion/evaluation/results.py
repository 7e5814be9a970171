"""The scores of a method, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

# Prefix of the columns of metrics against a true image.
REFERENCE = "ref_"


@dataclass(frozen=True)
class MethodScores:
    """The scores of one way to fuse.

    Attributes:
        name: in tables.
        convention: the convention whose definitions the scores follow.
        frame: index: names of the images; a float64 column per metric, ``ref_NAME`` for one against a true image.
            NaN where a score is undefined.
    """

    name: str
    convention: str
    frame: pd.DataFrame
