from __future__ import annotations

import numpy as np

from refusion.fuse.insets import most_different_window


def test_the_window_is_where_details_differ_most() -> None:
    one = np.full((80, 100), 90, np.uint8)
    other = one.copy()
    # A whole half that is brighter has no detail; a checkerboard has.
    other[:, :30] = 200
    other[50:58:2, 70:78:2] = 200
    window = most_different_window([one, other, one], share=0.1)
    assert window.side == 8
    assert abs(window.y - 50) <= 2 and abs(window.x - 70) <= 2
    # At the border, too, the square lies inside.
    other[:] = one
    other[76::2, 96::2] = 255
    window = most_different_window([one, other], share=0.1)
    assert (window.y, window.x) == (72, 92)
