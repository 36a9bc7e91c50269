import signal
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest

from clinical_backend.errors import ClinicalError, RoundTimeoutError
from clinical_backend.system.deadline import deadline

LATE = RoundTimeoutError("Too late.", "Be quick.")


@pytest.mark.parametrize("handled", [ClinicalError, Exception])
def test_code_that_goes_on_after_errors_is_interrupted_all_the_same(handled):
    went_on = []

    def go_on():
        try:
            time.sleep(60)
        except handled:
            went_on.append(handled)

    with pytest.raises(RoundTimeoutError, match=r"Too late\. Be quick\."), deadline(0.1, LATE):
        go_on()
    assert not went_on


def test_what_is_done_in_time_is_left_alone_and_so_is_what_comes_after():
    with deadline(0.2, LATE):
        pass
    time.sleep(0.4)


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), deadline(60, LATE):
        raise ZeroDivisionError


def test_what_is_taken_or_given_back_is_so_to_its_end_before_the_deadline_strikes():
    done = []

    @contextmanager
    def lock():
        time.sleep(0.2)
        done.append("taken")
        try:
            yield
        finally:
            time.sleep(0.2)
            done.append("given back")

    def work():
        with lock():
            pass
        time.sleep(60)

    for seconds in (0.1, 0.3):
        done.clear()
        with pytest.raises(RoundTimeoutError), deadline(seconds, LATE):
            work()
        assert done == ["taken", "given back"]


def test_what_hangs_in_giving_back_is_interrupted_in_the_end(monkeypatch):
    monkeypatch.setattr("clinical_backend.system.deadline._PATIENCE", 0.2)
    with pytest.raises(RoundTimeoutError), deadline(0.1, LATE), closing(SimpleNamespace(close=lambda: time.sleep(60))):
        pass


def test_a_deadline_that_strikes_where_nothing_could_be_raised_to_strikes_thereafter():
    class Slow:
        def __del__(self):
            time.sleep(0.2)

    def work():
        slow = Slow()
        del slow
        time.sleep(60)

    with pytest.raises(RoundTimeoutError), deadline(0.1, LATE):
        work()


def test_a_deadline_that_strikes_at_the_very_end_is_that_of_nobody(monkeypatch):
    set_timer, calls = signal.setitimer, []

    def struck(which, seconds):
        set_timer(which, seconds)
        if seconds == 0:
            calls.append(seconds)
            signal.raise_signal(signal.SIGALRM)

    before = signal.getsignal(signal.SIGALRM)
    monkeypatch.setattr(signal, "setitimer", struck)
    with deadline(60, LATE):
        pass
    assert calls == [0]
    assert signal.getsignal(signal.SIGALRM) is before
