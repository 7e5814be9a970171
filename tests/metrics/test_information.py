from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from refusion.metrics import evaluate


def test_is_the_entropy_of_the_grey_levels(triple) -> None:
    _, counts = np.unique(triple[0], return_counts=True)
    assert evaluate(*triple, "EN")["EN"].item() == pytest.approx(entropy(counts, base=2), rel=1e-12)


def test_known_values() -> None:
    every_level = np.arange(256, dtype=np.uint8).reshape(16, 16)
    flat = np.full((16, 16), 7, np.uint8)
    assert evaluate(every_level, flat, flat, "EN")["EN"].item() == pytest.approx(8, abs=1e-12)
    assert evaluate(flat, flat, flat, "EN")["EN"].item() == 0
