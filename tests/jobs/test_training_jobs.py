"""Trainings run one at a time, each in a process of its own that ends with the worker's."""

import logging
import signal
import sys
from contextlib import contextmanager

import pytest

from clinical_backend.errors import ModelError
from clinical_backend.jobs import training_jobs
from clinical_backend.jobs.training_jobs import TrainingJobs
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.workspace import Workspace
from tests.jobs.test_local_runner import wait_for


@pytest.fixture
def due():
    return set()


@pytest.fixture
def jobs(tmp_path, monkeypatch, due):
    """Return the jobs of two projects, with a command that stands in for trainings, which take minutes."""
    command = tmp_path / "python"
    command.write_text(f'#!/bin/sh\necho "$3 $5" >> {tmp_path}/begun\ncat > {tmp_path}/input\nexit "$STATUS"\n')
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    monkeypatch.setenv("STATUS", "0")
    kinds = [
        training_jobs._Kind(name, lambda project, name=name: (name, project.id) in due, lambda *_: None)
        for name in ("adapt", "finetune")
    ]
    monkeypatch.setattr(training_jobs, "_KINDS", kinds)
    monkeypatch.setattr(training_jobs, "_LOOK_SECONDS", 0.0)
    database = Database.in_folder(tmp_path)
    workspace = Workspace(load_settings(model_dir=tmp_path, label_studio_api_key="k"), database)
    workspace.stores.projects.register(1)
    workspace.stores.projects.register(2)
    made = TrainingJobs(workspace)
    yield made
    made.stop()
    database.close()


def begun(tmp_path):
    path = tmp_path / "begun"
    return path.read_text().splitlines() if path.exists() else []


def end(jobs):
    process = jobs._running.process
    process.stdin.close()
    process.wait(30)


def test_nothing_is_started_while_nothing_is_due(jobs, tmp_path):
    jobs.attend()
    assert jobs._running is None
    assert begun(tmp_path) == []


def test_one_runs_at_a_time_and_then_the_next(jobs, due, tmp_path):
    due |= {("finetune", 1), ("adapt", 2)}
    jobs.attend()
    wait_for(lambda: begun(tmp_path) == ["finetune 1"])
    jobs.attend()
    assert begun(tmp_path) == ["finetune 1"]
    due.remove(("finetune", 1))
    end(jobs)
    jobs.attend()
    wait_for(lambda: begun(tmp_path) == ["finetune 1", "adapt 2"])


def test_one_that_failed_is_not_tried_again_at_once(jobs, due, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("STATUS", "1")
    due.add(("finetune", 1))
    jobs.attend()
    end(jobs)
    with caplog.at_level(logging.WARNING):
        jobs.attend()
    assert "`finetune` ended with status 1" in caplog.text
    assert jobs._running is None
    due.add(("adapt", 1))
    jobs.attend()
    wait_for(lambda: begun(tmp_path) == ["finetune 1", "adapt 1"])


def test_one_that_was_killed_with_the_worker_is_started_again(jobs, due, tmp_path):
    due.add(("finetune", 1))
    jobs.attend()
    wait_for(lambda: begun(tmp_path) == ["finetune 1"])
    process = jobs._running.process
    jobs.stop()
    assert process.poll() is not None
    jobs.attend()
    wait_for(lambda: begun(tmp_path) == ["finetune 1"] * 2)


def test_one_that_falls_silent_is_ended_and_lets_its_project_go(jobs, due, tmp_path, monkeypatch, caplog):
    (tmp_path / "python").write_text(f"#!/bin/sh\necho begun > {tmp_path}/begun\nprintf .\nexec sleep 600\n")
    settings = jobs._workspace.settings.model_copy(update={"worker_timeout_seconds": 1.0})
    monkeypatch.setattr(jobs._workspace, "settings", settings)
    due.add(("finetune", 1))
    jobs.attend()
    process = jobs._running.process
    wait_for(lambda: jobs.attend() or jobs._running is None)
    assert process.poll() == -signal.SIGKILL
    assert "`finetune`: The last training gave no sign of life" in caplog.text


def test_a_project_that_cannot_be_looked_at_does_not_hinder_the_others(jobs, due, monkeypatch, tmp_path, caplog):
    def look(project):
        if project.id == 1:
            raise ModelError("It is wrong.", "Correct it.")
        return True

    monkeypatch.setattr(training_jobs, "_KINDS", [training_jobs._Kind("finetune", look, lambda *_: None)])
    with caplog.at_level(logging.WARNING):
        jobs.attend()
    assert "Project 1: It is wrong." in caplog.text
    wait_for(lambda: begun(tmp_path) == ["finetune 2"])


def test_a_training_keeps_its_project_until_it_has_ended(jobs, due, tmp_path):
    claims = []

    @contextmanager
    def claim(project_id):
        claims.append(project_id)
        yield True
        claims.remove(project_id)

    claiming = TrainingJobs(jobs._workspace, claim)
    due.add(("adapt", 2))
    claiming.attend()
    assert claims == [2]
    due.clear()
    end(claiming)
    claiming.attend()
    assert claims == []


def test_a_training_that_another_machine_is_at_is_left_to_it(jobs, due, tmp_path):
    @contextmanager
    def claim(_):
        yield False

    due.add(("adapt", 2))
    claimed = TrainingJobs(jobs._workspace, claim)
    claimed.attend()
    assert claimed._running is None
    assert begun(tmp_path) == []
