from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def all_reduces() -> ModuleType:
    return importlib.import_module("all_reduces")


def test_all_reduces_are_told_apart_by_the_step_they_belong_to(all_reduces: ModuleType) -> None:
    watched = all_reduces.AllReduces()

    def step(sizes: list[int]) -> Callable[[], None]:
        return lambda: [watched(torch.zeros(size)) for size in sizes]

    first, second = watched.noted("first", step([1, 2])), watched.noted("second", step([3]))
    for each in (first, first, second):
        each()
    assert watched.bytes_of == {"first": [4, 8], "second": [12]}
    assert watched.seconds > 0


def test_the_training_uses_them_only_while_they_watch(all_reduces: ModuleType) -> None:
    before = (all_reduces.step_graphs.average_over_workers, all_reduces.Step.meta, all_reduces.Step.fusion)
    watched = all_reduces.AllReduces()
    with watched.watching():
        assert all_reduces.step_graphs.average_over_workers is watched
        assert all_reduces.Step.meta is not before[1]
    assert before == (all_reduces.step_graphs.average_over_workers, all_reduces.Step.meta, all_reduces.Step.fusion)
