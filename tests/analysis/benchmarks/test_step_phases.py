from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from step_phases import REST, WHOLE, attribute, seconds_by_label
from torch.profiler import record_function


def labelled() -> None:
    for _ in range(2):
        with record_function("long"):
            time.sleep(0.04)
            with record_function("inside"):
                time.sleep(0.02)
    with record_function("short"):
        time.sleep(0.01)
    time.sleep(0.03)


def test_time_goes_to_the_outermost_labels_and_the_rest() -> None:
    found = seconds_by_label(labelled)
    assert list(found) == ["long", "short", REST]
    # What sleeps cannot take less.
    assert found["long"] >= 0.12
    assert found["short"] >= 0.01
    assert found[REST] >= 0.03
    assert found["long"] > found["short"]


def test_without_labels_all_is_rest() -> None:
    weight = torch.ones(3, requires_grad=True)
    adam = torch.optim.Adam([weight])

    def step() -> None:
        weight.sum().backward()
        # torch labels this by itself.
        adam.step()

    found = seconds_by_label(step)
    assert list(found) == [REST]
    assert found[REST] > 0


def event(
    name: str, start: float, end: float, *kernels: tuple[str, float], annotation: bool = False, device: str = "CPU"
) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=start, end=end),
        kernels=[SimpleNamespace(name=kernel, duration=duration) for kernel, duration in kernels],
        is_user_annotation=annotation,
        device_type=SimpleNamespace(name=device),
    )


def test_kernels_count_where_they_were_launched_whenever_they_ran() -> None:
    events = [
        event("before", 0, 1, ("kernel", 900)),
        event(WHOLE, 2, 100, (WHOLE, 500), annotation=True),
        event("forward", 10, 20, ("forward", 300), annotation=True),
        event("matmul", 11, 12, ("gemm", 40)),
        event("backward on another thread", 13, 14, ("gemm", 30)),
        event("update", 30, 40, ("update", 5), ("fused kernel", 5), annotation=True),
        event("add", 50, 51, ("add", 25)),
        event("gemm", 60, 400, device="CUDA"),
    ]
    found = attribute(events, kernels=True)
    assert found == pytest.approx({"forward": 70e-6, "update": 5e-6, REST: 25e-6})
