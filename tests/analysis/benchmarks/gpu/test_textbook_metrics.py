from __future__ import annotations

import pytest
import torch
from gpu.images import scene
from gpu.textbook_metrics import TEXTBOOK

from refusion.metrics import evaluate


@pytest.mark.parametrize("name", TEXTBOOK)
def test_the_textbook_gives_the_scores_of_the_package(name: str) -> None:
    images = scene(3, 52, 61, "cpu")
    ours = evaluate(*images, name)[name].double()
    theirs = TEXTBOOK[name](*(image.double() for image in images))
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_scene_has_two_sources_that_differ_and_a_mean_of_them() -> None:
    fused, a, b = (image.double() for image in scene(2, 48, 64, "cpu"))
    assert (fused - (0.3 * a + 0.7 * b)).abs().max() <= 1
    assert (a - b).abs().mean() > 5
    assert not torch.equal(a[0], a[1])
