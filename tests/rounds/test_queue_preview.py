"""What settings would do, told before they are saved: the queue of the next round, place by place."""

import errno
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical_backend.acquisition import settable
from clinical_backend.learner import artifact
from clinical_backend.origins import Draw
from clinical_backend.project_settings import ProjectOptions, effect_on_queue
from clinical_backend.rounds import sync
from clinical_backend.rounds.queue_preview import NothingToPreviewError, changes_of, preview_queue
from clinical_backend.service.set_aside import ask_for_test_set
from clinical_backend.workspace.project_options import store_options
from clinical_backend.workspace.settings_preview_files import PreviewQuestion
from tests.rounds.coloured_cells import RED, fake_client, project, run, studio
from tests.rounds.fake_label_studio import CONFIG
from tests.small_workspace import source, workspace

__all__ = ["fake_client", "project", "source", "studio", "workspace"]  # fixtures


def asked(declined=(), **options):
    return PreviewQuestion(key="k", asked_at=0.0, options=options, declined=declined, entered={}, seen="")


def served(project, studio):
    """Return the tasks that readers are served, in order, with their draws; those read again have none."""
    published = project.stores.rounds.published(project.id)
    draws = {row.task_id: row.draw for row in project.stores.rounds.queue(published.id)}
    return [(task, draws.get(task)) for task in studio.queue()]


def told(tasks):
    return [(one.task_id, one.draw) for one in tasks]


@pytest.fixture
def labelled(project, studio):
    """The project after two rounds: two readers answered twelve tasks, two of them red, and a tag stands on a page."""
    run(project)
    for task in [*range(1, 12), 17]:
        studio.annotate(task, "red" if task in RED else "dark", exemplar=task == 17, completed_by=1 + task % 2)
    project.stores.page_tags.set(project.id, [40], -1, by="ada")
    run(project)
    return project


CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "acquisition": st.sampled_from(["auto", *settable()]),
        "goal": st.sampled_from(["rare", "classifier"]),
        "queue_size": st.integers(1, 60),
        "audit_share": st.sampled_from([0.0, 0.1, 0.5]),
        "second_look_share": st.sampled_from([0.0, 0.2]),
        "second_look_random_share": st.sampled_from([0.0, 0.3]),
        "group_cap": st.integers(1, 3),
        "rare_classes": st.sampled_from([("red",), ("dark",), ()]),
    },
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHOICES)
def test_what_is_shown_is_what_the_next_round_publishes(labelled, studio, options):
    project = labelled
    shown = preview_queue(project, asked(**options))
    before = served(project, studio)
    assert project.stores.rounds.latest(project.id).number == shown.number - 1
    assert served(project, studio) == before
    store_options(project, ProjectOptions(**options))
    run(project)
    assert told(shown.with_these) == served(project, studio)
    assert project.stores.rounds.latest(project.id).number == shown.number
    assert shown.reasons[0] == project.stores.rounds.published(project.id).report.reason


def test_beside_it_stands_what_the_next_round_publishes_as_it_is_set(labelled, studio):
    shown = preview_queue(labelled, asked(queue_size=6, audit_share=0.5))
    assert len(shown.with_these) == 6
    assert [one.draw for one in shown.with_these].count(Draw.AUDIT) == 3
    run(labelled)
    assert told(shown.as_set) == served(labelled, studio)


def test_a_test_set_that_is_asked_for_leaves_the_pool_as_in_the_next_round(labelled, studio):
    ask_for_test_set(labelled, 8, by="lead", seed=3)
    shown = preview_queue(labelled, asked(audit_share=0.5))
    assert shown.test_set == 8
    assert labelled.stores.test_sets.ids(1) == frozenset()
    store_options(labelled, ProjectOptions(audit_share=0.5))
    run(labelled)
    assert told(shown.with_these) == served(labelled, studio)
    assert len(labelled.stores.test_sets.ids(1)) == 8
    assert preview_queue(labelled, asked(queue_size=6)).test_set == 0


def test_nothing_of_it_is_kept_and_label_studio_is_not_asked(labelled, studio):
    calls, folder = len(studio.calls), labelled.workspace.settings.model_dir
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "db" not in path.name}
    preview_queue(labelled, asked(acquisition="random", rare_classes=("dark",)))
    assert len(studio.calls) == calls
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert labelled.row.page_options == {}
    assert labelled.row.request is None


def test_before_a_queue_or_what_it_was_made_of_there_is_nothing_to_show(project, labelled):
    (labelled.settings_preview_folder / "answers.json").unlink()  # as an earlier version left it
    with pytest.raises(NothingToPreviewError, match="Start a round"):
        preview_queue(labelled, asked(queue_size=6))
    run(labelled)
    assert len(preview_queue(labelled, asked(queue_size=6)).with_these) == 6


def test_without_a_round_it_says_to_wait_for_one(project):
    with pytest.raises(NothingToPreviewError, match="Wait for the first round"):
        preview_queue(project, asked())


def test_answers_that_a_round_would_read_otherwise_by_now_are_not_ordered_by(project, studio):
    studio.config = CONFIG.replace('<Choice value="red"/>', '<Choice value="red"/><Choice value="white"/>')
    for task in range(1, 16):
        studio.annotate(task, "red" if task in RED else ["dark", "white"][task % 2])
    run(project)
    assert preview_queue(project, asked(queue_size=6)).with_these
    project.stores.projects.change(1, label_config=CONFIG)
    with pytest.raises(NothingToPreviewError, match="changed since the last round"):
        preview_queue(project, asked(queue_size=6))
    project.stores.projects.change(1, label_config=studio.config)
    store_options(project, ProjectOptions(stars=True))
    with pytest.raises(NothingToPreviewError, match="changed since the last round"):
        preview_queue(project, asked(queue_size=6))


def test_without_features_no_empty_queue_is_shown(labelled):
    for path in (labelled.workspace.settings.model_dir / "features").glob("*.rows"):
        path.write_bytes(b"")  # as a disk that failed left it
    with pytest.raises(NothingToPreviewError, match="has a feature"):
        preview_queue(labelled, asked(queue_size=6))


def test_where_a_round_cannot_keep_what_it_read_nothing_older_passes_for_it(labelled, studio, monkeypatch):
    studio.annotate(12, "dark")
    monkeypatch.setattr(artifact, "write_aside", full_disk)
    sync.synchronise(labelled)
    with pytest.raises(NothingToPreviewError, match="Start a round"):
        preview_queue(labelled, asked(queue_size=6))


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_changes_are_told_apart_by_whether_their_effect_can_be_said(labelled):
    question = asked(queue_size=6, stars=True, target_recall=0.9, audit_share=0.1)
    assert changes_of(labelled, labelled.row, question) == (("queue_size",), ("stars",), ("target_recall",))
    assert changes_of(labelled, labelled.row, asked(("dark",))).ordering == ("declined",)
    assert changes_of(labelled, labelled.row, asked()) == ((), (), ())


def test_every_setting_says_how_it_changes_a_queue():
    effects = {name: effect_on_queue(name) for name in ProjectOptions.model_fields}
    assert {name for name, effect in effects.items() if effect == "order"} == {
        "acquisition",
        "goal",
        "queue_size",
        "audit_share",
        "second_look_share",
        "second_look_random_share",
        "rare_classes",
        "group_cap",
    }
