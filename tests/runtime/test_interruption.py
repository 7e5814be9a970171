from __future__ import annotations

import os
import signal

import pytest

from refusion.runtime.interruption import terminated_is_interrupted


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_job_interrupt_it(ending: signal.Signals) -> None:
    before = signal.getsignal(ending)
    with pytest.raises(KeyboardInterrupt), terminated_is_interrupted():
        os.kill(os.getpid(), ending)
    assert signal.getsignal(ending) == before


def test_a_job_under_nohup_outlives_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminated_is_interrupted():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
