import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from clinical_backend.jobs.local_runner import LocalRunner
from clinical_backend.settings import load_settings


@pytest.fixture
def environment(tmp_path):
    # Nothing answers there: the worker has nothing to do, and must live all the same.
    return load_settings(
        model_dir=tmp_path, label_studio_url="http://127.0.0.1:9", label_studio_api_key="k", backbone="none:such"
    ).environment(os.environ)


def wait_for(condition):
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_worker_is_started_again_and_stops_with_its_runner(environment):
    runner = LocalRunner(environment)
    runner.start()
    wait_for(lambda: runner.process_id)
    first = runner.process_id
    runner.wake(1)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: runner.process_id not in (None, first))
    second = runner.process_id
    runner.stop()
    assert not psutil.pid_exists(second)


def test_a_worker_does_not_outlive_a_killed_server(environment):
    script = (
        "import os, time; from clinical_backend.jobs.local_runner import LocalRunner\n"
        "runner = LocalRunner(dict(os.environ)); runner.start()\n"
        "while runner.process_id is None: time.sleep(0.05)\n"
        "print(runner.process_id, flush=True); time.sleep(60)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(server.stdout.readline()))
    server.kill()
    server.wait()
    server.stdout.close()
    worker.wait(60)
    assert not worker.is_running()
