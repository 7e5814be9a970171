from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from refusion.audit.fit import Picture, Pictures, fit_reward
from refusion.audit.options import FitOptions
from refusion.audit.stacked import fit_stacked
from refusion.objectives import Reward, reconstruction_loss
from refusion.rewards import salient_reward

sys.path.append(str(Path(__file__).resolve().parents[2] / "analysis"))

import candidate_rewards

TINY = FitOptions(channel_noise=0.1, width=8, steps=4, batch=2, crop=24)


def pictures(count: int, seed: int, height: int = 40) -> list[Picture]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (2, height + number, 36), dtype=np.uint8) for number in range(count)]


TRAIN, VAL = pictures(3, 1), pictures(2, 2)
FUSED = {
    "mean": lambda pair: pair.mean(axis=0).astype(np.uint8),
    "a": lambda pair: pair[0],
}


def both(name: str) -> list[Pictures]:
    return [Pictures(pairs, [FUSED[name](pair) for pair in pairs]) for pairs in (TRAIN, VAL)]


@pytest.mark.parametrize("reward", [reconstruction_loss, salient_reward, candidate_rewards.local_mean_free])
def test_stacked_fits_come_to_what_single_ones_do(reward: Reward) -> None:
    chosen = [("mean", 0), ("a", 0), ("mean", 1)]
    options = [replace(TINY, seed=seed) for _, seed in chosen]
    train, val = zip(*(both(name) for name, _ in chosen), strict=True)
    found = fit_stacked(train, val, reward, options, "cpu")
    single = [fit_reward(*both(name), reward, one) for (name, _), one in zip(chosen, options, strict=True)]
    assert np.array(found) == pytest.approx(np.array(single), rel=1e-3)
    # Nothing is shared: all three differ by more than that.
    assert np.ptp(found, axis=0).min() > 1e-2 * np.mean(found)


def test_other_options_than_the_seed_are_refused() -> None:
    train, val = both("mean")
    with pytest.raises(ValueError, match="seeds only"):
        fit_stacked([train] * 2, [val] * 2, salient_reward, [TINY, replace(TINY, steps=5)], "cpu")


@pytest.mark.gpu
def test_a_gpu_comes_to_like_losses() -> None:
    train, val = both("mean")
    without_noise = replace(TINY, channel_noise=0.0)
    on_gpu = fit_stacked([train], [val], salient_reward, [without_noise], torch.device("cuda"))
    assert on_gpu[0] == pytest.approx(fit_reward(train, val, salient_reward, without_noise), rel=2e-2)
