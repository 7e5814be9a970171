from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from refusion.audit.fit import Picture, Pictures, centre_crop, fit_reward
from refusion.audit.options import FitOptions
from refusion.objectives import reconstruction_loss
from refusion.rewards import salient_reward

TINY = FitOptions(channel_noise=0.1, width=8, steps=3, batch=2, crop=24)


def sources(count: int, seed: int, side: int = 40) -> list[Picture]:
    """Pairs whose texture lies in a at the left and in b at the right; elsewhere they are flat."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        pair = np.full((2, side, side), 128, np.uint8)
        pair[0, :, : side // 2] = random.integers(0, 256, (side, side // 2))
        pair[1, :, side // 2 :] = random.integers(0, 256, (side, side - side // 2))
        found.append(pair)
    return found


def textured(pair: Picture) -> Picture:
    half = pair.shape[2] // 2
    return np.concatenate((pair[0, :, :half], pair[1, :, half:]), axis=1)


TRAIN, VAL = sources(4, seed=1), sources(3, seed=2)


def fit(fuse: object, options: FitOptions = TINY, reward: object = salient_reward) -> list[float]:
    assert callable(fuse) and callable(reward)
    train, val = (Pictures(pairs, [fuse(pair) for pair in pairs]) for pairs in (TRAIN, VAL))
    return fit_reward(train, val, reward, options)


def mean(pair: Picture) -> Picture:
    return pair.mean(axis=0).astype(np.uint8)


def only_a(pair: Picture) -> Picture:
    return pair[0]


def test_equal_options_give_equal_losses_whatever_the_process_drew_before() -> None:
    first = fit(mean)
    state = torch.get_rng_state()
    torch.rand(3)
    before = torch.get_rng_state()
    assert fit(mean) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(before, state)
    assert len(first) == 3 and np.isfinite(first).all()


@pytest.mark.parametrize("change", [{"seed": 1}, {"channel_noise": 0.0}, {"width": 16}, {"steps": 4}, {"crop": 32}])
def test_every_option_counts(change: dict[str, int]) -> None:
    assert fit(mean, replace(TINY, **change)) != fit(mean)  # type: ignore[arg-type]


def test_the_reward_counts_and_the_generator_of_the_process_is_left_alone() -> None:
    assert fit(mean, reward=reconstruction_loss) != fit(mean)


def test_a_method_that_destroys_a_source_has_the_worse_salient_loss() -> None:
    options = replace(TINY, steps=60, batch=4)
    whole, half = fit(textured, options), fit(only_a, options)
    assert np.mean(half) > 1.2 * np.mean(whole)
    assert all(bad > good for bad, good in zip(half, whole, strict=True))


def test_training_lowers_the_loss() -> None:
    assert np.mean(fit(textured, replace(TINY, steps=60))) < 0.8 * np.mean(fit(textured, replace(TINY, steps=1)))


def test_more_steps_than_are_cut_at_once() -> None:
    few = replace(TINY, steps=52, batch=1, crop=16)
    assert np.isfinite(fit(mean, few)).all()


def test_centre_crop() -> None:
    picture = np.arange(2 * 6 * 9, dtype=np.uint8).reshape(2, 6, 9)
    assert np.array_equal(centre_crop(picture, 4), picture[:, 1:5, 2:6])
    assert np.array_equal(centre_crop(picture, 8), picture[:, :, 0:8])
    assert np.array_equal(centre_crop(picture), picture)


def test_the_loss_is_of_the_centre() -> None:
    wide = [np.pad(pair, ((0, 0), (120, 120), (120, 120))) for pair in VAL]
    other = [pair.copy() for pair in wide]
    for pair in other:
        pair[:, :10] = 200
    train = Pictures(TRAIN, [mean(pair) for pair in TRAIN])
    found = [
        fit_reward(train, Pictures(pairs, [mean(pair) for pair in pairs]), salient_reward, TINY)
        for pairs in (wide, other)
    ]
    assert found[0] == found[1]


@pytest.mark.gpu
def test_a_gpu_comes_to_like_losses() -> None:
    train, val = (Pictures(pairs, [mean(pair) for pair in pairs]) for pairs in (TRAIN, VAL))
    without_noise = replace(TINY, channel_noise=0.0)
    on_gpu = fit_reward(train, val, salient_reward, without_noise, "cuda")
    assert on_gpu == pytest.approx(fit(mean, without_noise), rel=2e-2)
