from __future__ import annotations

from collections.abc import Callable

import pytest
import step_gradient
import torch
from step_gradient import EAGER, OURS, TEXTBOOK, peak, prepared, section, switched
from step_measuring import Size

from refusion.ops.backend import native_library

SIZE = Size(1, 1, 24, 16)


def quiet(what: str) -> None: ...


@pytest.mark.slow
def test_all_methods_are_given_the_same() -> None:
    gradients = {name: torch.cat([part.flatten() for part in prepared(name, SIZE)()]) for name in step_gradient.METHODS}
    for gradient in gradients.values():
        assert (gradient - gradients[OURS]).norm() < 1e-3 * gradients[OURS].norm()


@pytest.mark.usefixtures("native")
def test_ours_runs_compiled_code_and_the_others_none() -> None:
    ours, eager, anyway = prepared(OURS, SIZE)(), prepared(EAGER, SIZE)(), prepared(EAGER, SIZE, compile_anyway=True)()
    assert not all(torch.equal(one, other) for one, other in zip(ours, eager, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(ours, anyway, strict=True))


@pytest.mark.usefixtures("native")
def test_compiled_code_is_switched_during_the_call_only_or_left_as_it_is() -> None:
    def is_there() -> bool:
        return native_library() is not None

    assert [switched(wanted, "cpu", is_there)() for wanted in (None, True, False)] == [True, True, False]
    assert switched(False, "cpu", lambda: switched(True, "cpu", is_there)() and not is_there())()


@pytest.mark.slow
def test_the_peak_of_a_fresh_process() -> None:
    assert peak(TEXTBOOK, SIZE, 1) > 0


def test_running_out_of_memory_leaves_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted() -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(step_gradient, "prepared", lambda *_: exhausted)
    with pytest.raises(SystemExit):
        step_gradient._prepared_to_leave(OURS, SIZE)()


def made_up(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> None:
    """Give the calls fixed times."""

    def medians(
        calls: dict[str, Callable[[], object]], *_: object
    ) -> tuple[dict[str, float], dict[str, list[torch.Tensor]]]:
        return {name: seconds[name] for name in calls}, {name: [torch.ones(2)] for name in calls}

    monkeypatch.setattr(step_gradient, "medians_in_turn", medians)
    monkeypatch.setattr(step_gradient, "prepared", lambda *_: None)


SECONDS = dict(zip(step_gradient.METHODS, (2.0, 3.0, 9.0, 5.0, 4.0), strict=True))
PEAKS = dict(zip(step_gradient.METHODS, (1e9, 1.5e9, 2.5e9, 2e9, 2e9), strict=True))


def test_targets_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, SECONDS)
    (_, speed, memory), seconds = section(Size(3, 4, 96, 16), PEAKS, 1, quiet)
    assert seconds == SECONDS
    assert speed == f"K = 3: 4.50 times as fast as {TEXTBOOK}; target at least 4: met"
    assert memory == "K = 3: 0.400 of its peak memory; target at most 0.333: missed by 0.067"


def test_the_target_on_a_gpu_is_set_for_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, SECONDS)
    (_, there), _ = section(Size(1, 8, 256, 16, "cuda"), PEAKS, 1, quiet)
    assert str(there).endswith("target at least 5: missed by 0.5")
    (_, elsewhere), _ = section(Size(1, 4, 96, 16, "cuda"), PEAKS, 1, quiet)
    assert str(elsewhere).endswith("missed by 0.5 (it is set for batch 8, 256×256)")


def test_a_method_that_ran_out_of_memory_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, SECONDS)
    (_, speed, memory), seconds = section(Size(3, 4, 96, 16), PEAKS | {TEXTBOOK: float("nan")}, 1, quiet)
    assert TEXTBOOK not in seconds
    assert str(speed).endswith("target at least 4: not measured")
    assert str(memory).endswith("target at most 0.333: not measured")
