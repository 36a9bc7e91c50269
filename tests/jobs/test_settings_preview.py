"""What settings would change, told by processes beside the server: few at a time, and none is left behind."""

import json
import subprocess
import sys
import time

import pytest

from clinical_backend.jobs import settings_preview
from clinical_backend.jobs.settings_preview import PreviewBusyError, PreviewJobs, answer_questions
from clinical_backend.settings import load_settings
from clinical_backend.workspace.lock import folder_lock
from clinical_backend.workspace.settings_preview_files import (
    PreviewQuestion,
    load_answer,
    open_questions,
    save_question,
)
from tests.rounds.coloured_cells import fake_client, project, studio
from tests.small_workspace import source, workspace

__all__ = ["fake_client", "project", "source", "studio", "workspace"]  # fixtures


FIRST, LATER = "1" * 32, "2" * 32


def ask(project, key):
    question = PreviewQuestion(key=key, asked_at=float(key[0]), options={}, declined=(), entered={}, seen="")
    save_question(project.settings_preview_folder, question)


def test_one_that_takes_too_long_is_given_up_with_a_reason(project, monkeypatch):
    monkeypatch.setattr(settings_preview, "LONGEST_PREVIEW", 0.1)
    monkeypatch.setattr(settings_preview, "preview_queue", lambda *_: time.sleep(60))
    ask(project, FIRST)
    assert answer_questions(project) == "1 answered."
    answer = load_answer(project.settings_preview_folder, FIRST)
    assert (answer.key, answer.with_these) == (FIRST, ())
    assert "It was stopped after 0 seconds: the machine is busy" in answer.problem
    assert "Nothing is saved." in answer.problem


def test_what_is_asked_meanwhile_is_answered_by_the_one_that_is_at_it(project, monkeypatch):
    answered = []

    def answer(of, question):
        if not answered:
            ask(of, LATER)
            assert "Another process" in answer_questions(of)
        answered.append(question.key)
        return settings_preview.PreviewAnswer(key=question.key)

    monkeypatch.setattr(settings_preview, "preview_queue", answer)
    ask(project, FIRST)
    assert answer_questions(project) == "2 answered."
    assert answered == [FIRST, LATER]
    assert load_answer(project.settings_preview_folder, LATER).key == LATER
    with folder_lock(project.settings_preview_folder):
        assert "Another process" in answer_questions(project)


def test_a_copy_of_a_question_and_one_that_no_digest_can_be_told_of_are_passed_over(project):
    ask(project, FIRST)
    folder = project.settings_preview_folder
    (question,) = folder.glob("question-*")
    (folder / f"question-{LATER}.json").write_bytes(question.read_bytes())
    edited = json.loads(question.read_bytes()) | {"key": LATER.replace("2", "3"), "asked_at": float("nan")}
    (folder / f"question-{edited['key']}.json").write_text(json.dumps(edited))
    assert answer_questions(project) == "1 answered."
    assert open_questions(folder) == []


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Jobs whose processes do as they are told: sleep, or end with a status."""
    made = []

    def start(arguments, environment):
        number = int(arguments[arguments.index("--project") + 1])
        code = "import time; time.sleep(600)" if number < 100 else f"raise SystemExit({number - 100})"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        made.append(subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes))
        return made[-1]

    monkeypatch.setattr(settings_preview, "start_child", start)
    running = PreviewJobs(load_settings(model_dir=tmp_path, label_studio_api_key="k"))
    running.made = made
    yield running
    running.close()
    assert all(process.poll() is not None for process in made)


def test_the_process_that_is_at_a_project_answers_what_is_asked_later(jobs, monkeypatch):
    jobs.start(1)
    jobs.start(1)
    assert jobs.attend(1)
    assert len(jobs.made) == 1
    jobs.made[0].kill()
    jobs.made[0].wait()
    assert not jobs.attend(1)
    jobs.start(1)
    assert jobs.attend(1)
    assert len(jobs.made) == 2


def test_while_somebody_waits_one_that_ended_too_early_is_started_again_after_a_pause(jobs, monkeypatch):
    jobs.start(100)
    jobs.made[0].wait()
    assert jobs.attend(100)
    assert len(jobs.made) == 1
    monkeypatch.setattr(settings_preview, "_PAUSE", 0.0)
    assert jobs.attend(100)
    assert len(jobs.made) == 2


def test_no_more_projects_than_two_are_at_it(jobs):
    jobs.start(1)
    jobs.start(2)
    jobs.require_room(2)
    with pytest.raises(PreviewBusyError, match="Try again in a minute"):
        jobs.require_room(3)
    jobs.made[0].kill()
    jobs.made[0].wait()
    jobs.require_room(3)


def test_only_the_last_few_questions_are_kept(project):
    for number in range(12):
        ask(project, f"{number:032x}")
    assert len(open_questions(project.settings_preview_folder)) == 8
