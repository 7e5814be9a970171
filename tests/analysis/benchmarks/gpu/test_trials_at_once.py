from __future__ import annotations

from itertools import chain

import pytest
import torch
from gpu import trials_at_once
from gpu.trials_at_once import calls_of, main, milliseconds


def test_all_ways_find_the_same_gradients() -> None:
    torch.manual_seed(0)
    calls = calls_of(2, 8, 16, 1, "cpu")
    stacked: dict[str, torch.Tensor] = calls.pop("plain PyTorch, stacked by vmap")()  # type: ignore[assignment]
    for call in calls.values():
        networks: list[tuple[torch.Tensor, ...]] = call()  # type: ignore[assignment]
        for number, gradients in enumerate(networks):
            for together, alone in zip(stacked.values(), gradients, strict=True):
                torch.testing.assert_close(together[number], alone, rtol=1e-4, atol=1e-6)


def test_what_other_processes_do_is_not_counted() -> None:
    import time

    assert milliseconds(lambda: time.sleep(0.05), "cpu") < 25


def test_it_prints_both_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_at_once, "_REPEATS", 1)
    threads = torch.get_num_threads()
    try:
        assert main(["--trials", "1", "2", "--width", "8", "--crop", "16", "--batch", "1"]) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert all(way in said for way in chain(calls_of(1, 8, 16, 1, "cpu"), ["2 networks", "Trials per hour"]))
