"""What a method scored, picture by picture."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

# Columns of metrics against a true image.
REFERENCE = "ref_"


@dataclass(frozen=True)
class MethodScores:
    """The scores of one way to fuse.

    Attributes:
        name: how tables call it.
        convention: whose definitions the scores follow.
        frame: index: names of the pictures; a float64 column per metric, ``ref_NAME`` for one against a true image.
            NaN where a score is undefined.
    """

    name: str
    convention: str
    frame: pd.DataFrame
