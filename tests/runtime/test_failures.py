from __future__ import annotations

from refusion.errors import DamagedCheckpointError, UserError
from refusion.runtime.failures import cause_of, reason_of


class LostWorkersError(Exception):
    """Carries failures by rank, as Ray Train's exceptions do."""

    def __init__(self, worker_failures: dict[int, Exception]) -> None:
        super().__init__("training failed; a long text")
        self.worker_failures = worker_failures


class WrappedError(Exception):
    """Carries its cause, as Ray's task errors do."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a task failed; a long text")
        self.cause = cause


def test_the_innermost_cause_is_told_in_one_line() -> None:
    inner = ValueError("first line\nthe size is wrong\n")
    assert reason_of(inner) == "ValueError: the size is wrong"
    assert reason_of(WrappedError(inner)) == "ValueError: the size is wrong"
    assert reason_of(LostWorkersError({3: WrappedError(inner)})) == "worker 3: ValueError: the size is wrong"
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert reason_of(outer) == "ValueError: the size is wrong"


def test_a_failure_without_a_text_is_told_by_its_name_once() -> None:
    assert reason_of(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert reason_of(OSError("OSError: disk full")) == "OSError: disk full"


def test_what_is_passed_on_is_found_whatever_it_stood_for() -> None:
    damaged = DamagedCheckpointError("epoch_00002/state.pt: is damaged")
    damaged.__cause__ = UserError("state.pt: is damaged")
    assert cause_of(WrappedError(WrappedError(damaged))) is damaged
    assert reason_of(WrappedError(damaged)) == str(damaged)
    lost = LostWorkersError({0: damaged})
    assert cause_of(lost) is lost
