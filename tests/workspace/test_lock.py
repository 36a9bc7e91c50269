"""A worker that stood still wakes up at some point of its round, and finds that it may do nothing any more."""

import pytest

from clinical_backend.errors import ProjectBusyError, RoundAbandonedError
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.storage.schema import ProjectLease, RoundState
from clinical_backend.system.pulse import note_progress
from clinical_backend.workspace import lock
from clinical_backend.workspace.lock import import_lock, leased_project
from tests.jobs.test_local_runner import wait_for
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture


@pytest.fixture
def fake_client():
    return FakeLabelStudio({task: picture(task) for task in range(1, 21)})


@pytest.fixture
def studio(workspace, fake_client):
    workspace.settings = workspace.settings.model_copy(update={"queue_size": 5, "backend_url": "http://backend"})
    return fake_client


def pass_on(workspace):
    """Have another worker take project 1, and hold it."""
    with workspace.stores.database._engine.begin() as connection:
        connection.execute(ProjectLease.__table__.update().values(token=ProjectLease.token + 1, holder="another"))


@pytest.mark.parametrize(
    "point", ["tasks", "annotated_tasks", "import_predictions", "update_project", "model_versions"]
)
def test_who_wakes_up_when_the_project_was_passed_on_publishes_nothing(workspace, studio, point):
    studio.meanwhile[point] = lambda: pass_on(workspace)
    reconcile(workspace.project(1), look=False)
    assert point in studio.calls
    (begun,) = workspace.stores.rounds.history(1)
    assert begun.state is RoundState.RUNNING  # its successor notes what became of it
    assert workspace.stores.projects.get(1).published_version is None
    assert workspace.stores.leases.of(1).holder == "another"
    if point != "update_project":  # which it was at when it stood still
        assert studio.model_version == ""


def test_the_successor_runs_the_round_again(workspace, studio):
    studio.meanwhile["import_predictions"] = lambda: pass_on(workspace)
    reconcile(workspace.project(1), look=False)
    workspace.stores.leases.give_back(1, workspace.stores.leases.of(1).token)
    reconcile(workspace.project(1), look=False)
    assert [row.state for row in workspace.stores.rounds.history(1)] == [RoundState.PUBLISHED, RoundState.ABANDONED]
    assert studio.model_version == workspace.stores.projects.get(1).published_version


def test_who_cleans_up_late_deletes_no_queue_of_its_successor(workspace, studio, monkeypatch):
    reconcile(workspace.project(1), look=False)
    studio.predictions["clinical-9-successor"] = []
    workspace.stores.projects.request_round(1, "test", delay=0)
    publish = workspace.stores.rounds.publish

    def publish_then_stand_still(*args, **kwargs):
        publish(*args, **kwargs)
        pass_on(workspace)

    monkeypatch.setattr(workspace.stores.rounds, "publish", publish_then_stand_still)
    reconcile(workspace.project(1), look=False)
    assert "clinical-9-successor" in studio.predictions


def test_work_that_does_not_get_on_gives_no_signs_of_life_though_its_thread_lives(workspace, monkeypatch):
    workspace.settings = workspace.settings.model_copy(
        update={"worker_timeout_seconds": 0.2, "stall_timeout_seconds": 100.0}
    )
    leases = workspace.stores.leases
    idle = [0.0]
    monkeypatch.setattr(lock, "idle_seconds", lambda: idle[0])
    with leased_project(workspace.project(1)):
        wait_for(lambda: leases.of(1).signs > 1)
        idle[0] = 99.0
        wait_for(lambda: leases.of(1).sign_at - leases.of(1).progress_at > 90)
        idle[0] = 101.0
        wait_for(lambda: leases.end_silent(2.0) == [1])
        with pytest.raises(RoundAbandonedError):
            workspace.stores.projects.change(1, title="late")
    assert workspace.stores.projects.get(1).title is None


def test_a_project_that_is_held_is_waited_for(workspace):
    with leased_project(workspace.project(1)):
        note_progress()
        with pytest.raises(ProjectBusyError, match="project 1"), leased_project(workspace.project(1), seconds=0.1):
            pass
    with leased_project(workspace.project(1)):
        pass


def test_a_project_has_one_import_at_a_time_and_the_next_one_after_it(workspace):
    project = workspace.project(1)
    with import_lock(project):
        with (
            pytest.raises(ProjectBusyError, match="Another import works at project 1"),
            import_lock(project),
        ):
            raise AssertionError("two at once")
        with import_lock(workspace.project(2)):
            pass
    with pytest.raises(ZeroDivisionError), import_lock(project):
        raise ZeroDivisionError
    with import_lock(project):
        pass
