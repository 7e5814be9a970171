from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def growth() -> ModuleType:
    return importlib.import_module("growth")


def test_a_leak_below_noise_is_found_with_its_interval(growth: ModuleType) -> None:
    runs = np.arange(1, 161)
    noise = np.random.default_rng(0).normal(0, 3, 160)
    leaks = growth.growth_of("driver: MiB", runs, 400 + 0.25 * runs + noise)
    assert leaks.low < 0.25 < leaks.high and leaks.high - leaks.low < 0.1
    assert leaks.is_more_than(2) and not leaks.is_more_than(50)


def test_noise_and_what_shrinks_are_no_leaks(growth: ModuleType) -> None:
    runs = np.arange(1, 161)
    # Neighbours are alike, which takes the scatter for a trend where it is thought independent.
    random = np.random.default_rng(1)
    wanders = np.convolve(random.normal(0, 3, 179), np.ones(20) / 20, "valid")
    still = growth.growth_of("handles", runs, 50 + wanders)
    assert still.low < 0 < still.high and not still.is_more_than(0)
    assert not growth.growth_of("handles", runs, 100 - 0.1 * runs).is_more_than(0)
