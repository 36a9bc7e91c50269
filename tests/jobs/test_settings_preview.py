"""What settings would change, told by processes beside the server: few at a time, and none is left behind."""

import subprocess
import sys
import time

import pytest

from clinical_backend.jobs import settings_preview
from clinical_backend.jobs.settings_preview import PreviewBusyError, PreviewJobs, answer_question
from clinical_backend.settings import load_settings
from clinical_backend.workspace.lock import training_lock
from clinical_backend.workspace.preview_files import PreviewQuestion, load_answer, save_question
from tests.rounds.coloured_cells import fake_client, project, studio
from tests.small_workspace import source, workspace

__all__ = ["fake_client", "project", "source", "studio", "workspace"]  # fixtures


def ask(project, key):
    question = PreviewQuestion(key=key, asked_at=0.0, options={}, declined=(), entered={}, seen="")
    save_question(project.settings_preview_folder, question)


def test_one_that_takes_too_long_is_given_up_with_a_reason(project, monkeypatch):
    monkeypatch.setattr(settings_preview, "LONGEST_PREVIEW", 0.1)
    monkeypatch.setattr(settings_preview, "preview_queue", lambda *_: time.sleep(60))
    ask(project, "k")
    assert answer_question(project) == "1 answered."
    answer = load_answer(project.settings_preview_folder)
    assert (answer.key, answer.with_these) == ("k", ())
    assert "It was stopped after 0 seconds. Save the settings" in answer.problem


def test_what_is_asked_meanwhile_is_answered_by_the_one_that_is_at_it(project, monkeypatch):
    answered = []

    def answer(of, question):
        if not answered:
            ask(of, "later")
            assert "Another process" in answer_question(of)
        answered.append(question.key)
        return settings_preview.PreviewAnswer(key=question.key)

    monkeypatch.setattr(settings_preview, "preview_queue", answer)
    ask(project, "first")
    assert answer_question(project) == "2 answered."
    assert answered == ["first", "later"]
    assert load_answer(project.settings_preview_folder).key == "later"
    with training_lock(project.settings_preview_folder):
        assert "Another process" in answer_question(project)


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


def test_a_newer_question_ends_the_process_of_the_one_before(jobs):
    jobs.start(1)
    jobs.start(1)
    assert [process.poll() is None for process in jobs.made] == [False, True]
    assert not jobs.has_failed(1)


def test_no_more_projects_than_two_are_at_it(jobs):
    jobs.start(1)
    jobs.start(2)
    jobs.require_room(2)
    with pytest.raises(PreviewBusyError, match="Try again in a minute"):
        jobs.require_room(3)
    jobs.made[0].kill()
    jobs.made[0].wait()
    jobs.require_room(3)


def test_one_that_ended_before_its_work_was_done_is_told_until_it_is_started_again(jobs):
    for ending in (100, 103):
        jobs.start(ending)
    for process in jobs.made:
        process.wait()
    assert [jobs.has_failed(each) for each in (100, 103, 7)] == [False, True, False]
    jobs.start(103)
    assert not jobs._failed
