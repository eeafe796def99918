"""The clock and the signals of a process that trains."""

import signal
from types import SimpleNamespace

from dqn.run.process import Clock, StopSignals


def test_a_clock_is_due_once_in_so_many_minutes(monkeypatch):
    now = SimpleNamespace(seconds=0)
    monkeypatch.setattr("dqn.run.process.time", SimpleNamespace(monotonic=lambda: now.seconds))
    clock, due = Clock(5), []
    for now.seconds in range(0, 1000, 50):
        due += [now.seconds] * clock.is_due()
    assert due == [300, 600, 900]


def test_a_signal_stops_once_and_is_ignored_after_the_run_was_saved():
    before = signal.getsignal(signal.SIGTERM)
    try:
        with StopSignals() as stop:
            assert not stop() and stop.exit_status == 0
        assert signal.getsignal(signal.SIGTERM) == before
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGTERM)
        assert stop() and stop.exit_status == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
