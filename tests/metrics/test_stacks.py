from __future__ import annotations

import numpy as np
import pytest
import torch

from refusion.errors import UserError
from refusion.metrics import evaluate
from refusion.metrics.stacks import evaluate_stack

RNG = np.random.default_rng(3)
FUSED, A, B, C = RNG.integers(0, 256, (4, 48, 52)).astype(np.float64)


def test_two_sources_score_as_a_pair() -> None:
    names = ["Qabf", "SSIM", "MEF-SSIM", "EN"]
    of_stack, of_pair = evaluate_stack(FUSED, [A, B], names), evaluate(FUSED, A, B, names)
    assert list(of_stack) == names
    for name in names:
        torch.testing.assert_close(of_stack[name], of_pair[name])


def test_a_metric_is_its_mean_over_each_two_sources() -> None:
    each = [evaluate(FUSED, *two, ["Qabf"])["Qabf"].item() for two in ((A, B), (A, C), (B, C))]
    assert evaluate_stack(FUSED, [C, A, B], ["Qabf"])["Qabf"].item() == pytest.approx(np.mean(each))


def test_mef_ssim_takes_all_sources_together() -> None:
    flat = np.full_like(A, 128)
    # Sources without structure ask for nothing that the others do not ask for.
    whole = evaluate_stack(A, [A, A, A], "MEF-SSIM")["MEF-SSIM"].item()
    assert whole == pytest.approx(1, abs=1e-4)
    scores = [evaluate_stack(f, [A, flat, flat], "MEF-SSIM")["MEF-SSIM"].item() for f in (A, FUSED)]
    assert scores[0] > 0.99 > 0.5 > scores[1]
    several = [evaluate_stack(FUSED, order, "MEF-SSIM")["MEF-SSIM"].item() for order in ([A, B, C], [C, B, A])]
    assert several[0] == pytest.approx(several[1], rel=1e-9)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UserError, match="a stack has two sources or more, but this one has 1"):
        evaluate_stack(FUSED, [A])
    with pytest.raises(UserError, match="MEF-SSIM needs images of at least 44×44 pixels"):
        evaluate_stack(FUSED[:20], [A[:20], B[:20], C[:20]], ["MEF-SSIM"])
