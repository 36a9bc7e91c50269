"""A worker that is stopped or hangs is ended, and another one goes on: real processes, real signals."""

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from clinical_backend.jobs.supervisor import Listener, Supervisor
from clinical_backend.settings import load_settings
from tests.jobs.test_local_runner import wait_for

GIVE_SIGNS = (
    "import sys, time; from clinical_backend.jobs.child_process import give_signs\n"
    "from clinical_backend.system.pulse import note_progress\n"
    "from clinical_backend.settings import load_settings\n"
    "give_signs(load_settings())\n"
)


@pytest.fixture
def settings(tmp_path):
    # Nothing answers there: the worker has nothing to do, and must live all the same.
    return load_settings(
        model_dir=tmp_path,
        label_studio_url="http://127.0.0.1:9",
        label_studio_api_key="k",
        backbone="none:such",
        worker_timeout_seconds=4.0,
    )


@pytest.fixture
def supervised(settings):
    made = Supervisor(["worker", "--embedded"], settings.environment(os.environ), settings.worker_timeout_seconds)
    thread = threading.Thread(target=made.watch)
    thread.start()
    wait_for(lambda: made.process_id)
    yield made
    made.stop()
    thread.join()


def give_signs(script, **settings):
    """Start a process that gives signs of life."""
    environment = os.environ | {"LABEL_STUDIO_API_KEY": "k"} | settings
    return subprocess.Popen(
        [sys.executable, "-c", GIVE_SIGNS + script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_stopped_worker_is_ended_and_another_started(supervised, settings):
    first = psutil.Process(supervised.process_id)
    wait_for((settings.model_dir / "clinical.sqlite3").exists)  # it has given signs by then
    first.send_signal(signal.SIGSTOP)
    supervised.tell("1")
    wait_for(lambda: supervised.process_id not in {None, first.pid})
    assert not first.is_running()


@pytest.mark.slow
def test_telling_a_worker_that_is_stopped_keeps_nobody_waiting(supervised):
    os.kill(supervised.process_id, signal.SIGSTOP)
    for number in range(30_000):  # more than a pipe holds
        supervised.tell(str(number))


def test_a_stopped_worker_ends_with_its_supervisor(settings):
    made = Supervisor(["worker", "--embedded"], settings.environment(os.environ), 600.0)
    thread = threading.Thread(target=made.watch)
    thread.start()
    wait_for(lambda: made.process_id)
    worker = psutil.Process(made.process_id)
    worker.send_signal(signal.SIGSTOP)
    made.stop()
    thread.join()
    assert not worker.is_running()


@pytest.mark.slow
def test_one_that_hangs_falls_silent_though_its_threads_live_and_one_that_gets_on_does_not():
    hanging = give_signs("time.sleep(600)", STALL_TIMEOUT_SECONDS="1", WORKER_TIMEOUT_SECONDS="1")
    busy = give_signs(
        "while True: note_progress(); time.sleep(0.1)", STALL_TIMEOUT_SECONDS="1", WORKER_TIMEOUT_SECONDS="1"
    )
    try:
        listeners = [Listener(process.stdout, 20.0) for process in (hanging, busy)]
        for process, listener in zip((hanging, busy), listeners, strict=True):
            wait_for(lambda listener=listener: listener.hear(0.1) and listener._limit == 20.0)  # its first sign
            assert process.poll() is None
        assert listeners[1].hear(0.1)
        wait_for(lambda: not listeners[0].hear(0.5))
        assert listeners[1].hear(0.1)
    finally:
        for process in (hanging, busy):
            process.kill()
            process.communicate()


def test_time_in_which_the_parent_stood_still_itself_is_not_silence():
    child = give_signs("time.sleep(600)", WORKER_TIMEOUT_SECONDS="1")
    try:
        listener = Listener(child.stdout, 10.0)
        wait_for(lambda: listener.hear(0.1) and listener._limit == 10.0)
        child.send_signal(signal.SIGSTOP)
        while child.stdout.read(1):
            pass
        listener._looked_at -= 3600.0  # the parent was suspended for an hour
        assert listener.hear()
    finally:
        child.kill()
        child.communicate()


def test_what_a_worker_prints_is_no_sign_of_life():
    child = give_signs("print('hello', flush=True); time.sleep(600)")
    try:
        assert set(child.stdout.read(2)) == {ord(".")}
        assert child.stderr.readline() == b"hello\n"
    finally:
        child.kill()
        child.communicate()


def test_a_signal_that_comes_while_a_worker_is_started_is_passed_on(monkeypatch, settings):
    supervisor = Supervisor(["worker"], settings.environment(os.environ), 30.0)
    start = subprocess.Popen

    def signalled_first(command, **options):
        supervisor.signal(signal.SIGTERM)
        return start([sys.executable, "-c", "import time; time.sleep(600)"], **options)

    monkeypatch.setattr(subprocess, "Popen", signalled_first)
    assert supervisor.watch() == -signal.SIGTERM
