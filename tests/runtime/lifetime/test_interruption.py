from __future__ import annotations

import os
import signal

import pytest

from refusion.runtime.lifetime.interruption import Interrupted, handlers_kept, terminated_is_interrupted


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_job_interrupt_it(ending: signal.Signals) -> None:
    before = signal.getsignal(ending)
    with pytest.raises(KeyboardInterrupt) as interrupted, terminated_is_interrupted():
        os.kill(os.getpid(), ending)
    assert signal.getsignal(ending) == before
    assert interrupted.value.status == 128 + ending


def test_a_signal_keeps_its_number_where_ray_waits() -> None:
    """Ray's own code turns whatever a handler raises into a KeyboardInterrupt."""
    with pytest.raises(Interrupted) as interrupted, terminated_is_interrupted():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
    assert interrupted.value.status == 143
    with pytest.raises(KeyboardInterrupt) as pressed, terminated_is_interrupted():
        raise KeyboardInterrupt
    assert not isinstance(pressed.value, Interrupted)


def test_a_job_under_nohup_outlives_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminated_is_interrupted():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigterm_stays_an_interruption_whatever_ray_sets_meanwhile() -> None:
    """As `ray.init` does, after which SIGTERM would leave MLflow's runs open."""
    with terminated_is_interrupted():
        with handlers_kept(signal.SIGTERM):
            signal.signal(signal.SIGTERM, lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
