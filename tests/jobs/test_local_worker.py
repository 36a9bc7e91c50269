import io
import logging
import os
import subprocess
import sys
from queue import Queue
from types import SimpleNamespace

from clinical_backend.jobs import local_worker, worker
from clinical_backend.jobs.local_runner import LocalRunner
from clinical_backend.jobs.runner import drain
from clinical_backend.settings import load_settings
from tests.jobs.test_local_runner import wait_for


def test_a_wake_reaches_the_worker_and_a_stop_at_once_leaves_none(tmp_path, monkeypatch):
    # Stands in for the worker, of which nobody could tell what it was told.
    command = tmp_path / "python"
    command.write_text(f"#!/bin/sh\nexec cat > {tmp_path}/wakes\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    runner = LocalRunner(dict(os.environ))
    runner.wake(1)
    runner.start()
    wait_for(lambda: runner.process_id)
    runner.wake(7)
    runner.wake(8)
    wait_for(lambda: (tmp_path / "wakes").exists() and (tmp_path / "wakes").read_text() == "7\n8\n")
    runner.stop()
    assert runner.process_id is None
    at_once = LocalRunner(dict(os.environ))
    at_once.start()
    at_once.stop()
    assert at_once.process_id is None


def test_wakes_fold_and_anything_but_a_number_is_passed_over(monkeypatch):
    ended = []
    monkeypatch.setattr(local_worker.os, "_exit", ended.append)
    queue = Queue()
    local_worker._read(io.StringIO("3\n3\nx\n\n-1\n5\n"), queue)
    assert drain(queue, timeout=0.0) == {3, 5}
    assert ended == [0]


def test_a_fault_in_one_project_does_not_end_the_worker(monkeypatch, caplog):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(worker, "reconcile", broken)
    with caplog.at_level(logging.ERROR):
        worker.attend_project(SimpleNamespace(id=7, workspace=SimpleNamespace(settings=load_settings())), look=True)
    assert "Project 7" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_worker_ends_with_its_input(tmp_path):
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k")
    command = [sys.executable, "-m", "clinical_backend", "worker", "--embedded"]
    process = subprocess.Popen(command, env=settings.environment(os.environ), stdin=subprocess.PIPE)
    process.stdin.close()
    assert process.wait(60) == 0
