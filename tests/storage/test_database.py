import subprocess
import sys
import threading

import numpy as np
import pytest

from clinical_backend.errors import StorageError
from clinical_backend.storage.database import Database
from clinical_backend.storage.features import FeatureStore
from clinical_backend.storage.schema import Draw, QueuedTask, RoundState, TaskLabel
from clinical_backend.storage.stores import Stores


@pytest.fixture
def database(tmp_path):
    opened = Database.in_folder(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def stores(database):
    return Stores(database)


def features_in(database, tmp_path, backbone="net", dimension=3):
    return FeatureStore(database, tmp_path / "features", backbone=backbone, dimension=dimension)


def test_a_folder_that_cannot_be_made_is_refused_with_a_cure(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="MODEL_DIR"):
        Database.in_folder(tmp_path / "file" / "below")


def test_changes_of_a_failing_block_are_undone(database, stores):
    stores.projects.register(1)

    def fail_half_way():
        with database.write() as session:
            session.add(TaskLabel(project_id=1, task_id=1, labelled_at=0.0))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert stores.labels.all(1) == {}


def test_writers_of_several_threads_lose_nothing(stores):
    stores.projects.register(1)

    def count():
        for _ in range(25):
            stores.projects.count_update(1, 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores.projects.get(1).updates == 100


def test_a_burst_folds_into_one_round_and_what_comes_during_it_makes_the_next_due(stores):
    stores.projects.register(1)
    assert stores.projects.take_request(1) == "the project was connected"
    for reason in ("first", "second", "third"):
        stores.projects.request_round(1, reason)
    assert stores.projects.take_request(1) == "first"
    assert stores.projects.take_request(1) is None
    stores.projects.request_round(1, "during the round")
    assert stores.projects.due() == [1]
    assert stores.projects.take_request(1) == "during the round"


def test_a_request_after_a_failure_waits_unless_a_person_asks(stores):
    stores.projects.register(1)
    stores.projects.take_request(1)
    stores.projects.request_round(1, "the last round failed", delay=60)
    assert stores.projects.take_request(1) is None
    stores.projects.request_round(1, "an annotation came")
    assert stores.projects.take_request(1) is None
    stores.projects.request_round(1, "the button", delay=0)
    assert stores.projects.take_request(1) == "the last round failed"


def test_a_round_goes_from_running_to_published_or_leaves_the_old_version(stores):
    stores.projects.register(1)
    first, second = stores.rounds.start(1, "a"), stores.rounds.start(1, "b")
    assert (first.number, second.number) == (1, 2)
    assert first.version != second.version
    stores.rounds.publish(first, {"counts": {"queue": 5}}, 5)
    stores.rounds.fail(second.id, 1, "no disk", state=RoundState.FAILED)
    project = stores.projects.get(1)
    assert (project.published_version, project.problem, project.failures) == (first.version, "no disk", 1)
    assert stores.rounds.published(1).number == 1
    assert [row.state for row in stores.rounds.history(1)] == [RoundState.FAILED, RoundState.PUBLISHED]


def test_a_round_without_a_queue_keeps_the_published_version(stores):
    stores.projects.register(1)
    first, second = stores.rounds.start(1, "a"), stores.rounds.start(1, "b")
    stores.rounds.publish(first, {}, 5)
    stores.rounds.publish(second, {}, 0)
    assert stores.projects.get(1).published_version == first.version


def test_rounds_of_a_dead_process_are_abandoned(stores):
    stores.projects.register(1)
    stores.rounds.start(1, "a")
    assert stores.rounds.abandon_running(1) == 1
    assert stores.rounds.latest(1).state is RoundState.ABANDONED
    assert stores.rounds.abandon_running(1) == 0


def test_a_forgotten_project_leaves_nothing(stores):
    stores.projects.register(1)
    row = stores.rounds.start(1, "a")
    stores.rounds.keep_queue([QueuedTask(round_id=row.id, rank=0, task_id=9, draw=Draw.AUDIT)])
    stores.images.synchronise(1, {9: "uri"}, complete=True)
    stores.labels.replace(1, [TaskLabel(project_id=1, task_id=9, labelled_at=0.0)])
    stores.projects.forget(1)
    assert stores.projects.ids() == []
    assert (stores.rounds.history(1), stores.rounds.queue(row.id)) == ([], [])
    assert (stores.images.all(1), stores.labels.all(1)) == ({}, {})


def test_images_follow_the_tasks_of_label_studio(stores):
    stores.projects.register(1)
    many = {task: f"a{task}" for task in range(1, 1501)}
    stores.images.synchronise(1, many, complete=True)
    stores.images.found(1, {1: "digest", 2: "other"})
    stores.images.failed(1, {3: "unreadable"})
    stores.images.synchronise(1, {1: "a1", 2: "moved", 3: "a3", 2000: "new"}, complete=True)
    known = stores.images.all(1)
    assert sorted(known) == [1, 2, 3, 2000]
    assert (known[1].digest, known[2].digest, known[3].problem, known[3].attempts) == (
        "digest",
        None,
        "unreadable",
        1,
    )
    assert set(stores.images.all(1, [1, 2000, 4])) == {1, 2000}


def test_features_are_kept_by_content_and_by_backbone(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(["a", "b"], np.arange(6, dtype=np.float32).reshape(2, 3))
    features.add(["b", "c"], np.full((2, 3), 9, dtype=np.float32))
    positions = features.positions(["a", "b", "c", "d"])
    assert sorted(positions) == ["a", "b", "c"]
    rows = features.read([positions["c"], positions["b"]])
    assert rows.tolist() == [[9, 9, 9], [3, 4, 5]]
    assert features_in(database, tmp_path, backbone="another").positions(["a"]) == {}
    assert features.read([]).shape == (0, 3)


def test_a_torn_row_of_a_dead_writer_is_dropped(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(["a"], np.ones((1, 3), dtype=np.float32))
    (file,) = (tmp_path / "features").glob("*.f32")
    with file.open("ab") as stream:
        stream.write(b"\x00" * 7)
    assert features.read([0]).tolist() == [[1, 1, 1]]
    features.add(["b"], np.full((1, 3), 2, dtype=np.float32))
    assert features.read([features.positions(["b"])["b"]]).tolist() == [[2, 2, 2]]


def test_two_processes_write_features_at_once(database, tmp_path):
    script = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from clinical_backend.storage.database import Database\n"
        "from clinical_backend.storage.features import FeatureStore\n"
        "folder, start = Path(sys.argv[1]), int(sys.argv[2])\n"
        "store = FeatureStore(Database.in_folder(folder), folder / 'features', backbone='net', dimension=3)\n"
        "for n in range(start, start + 20): store.add([str(n)], np.full((1, 3), n, dtype=np.float32))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(start)]) for start in (0, 10)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    features = features_in(database, tmp_path)
    positions = features.positions(str(n) for n in range(30))
    assert len(positions) == len(set(positions.values())) == 30
    assert all(features.read([positions[str(n)]]).tolist() == [[n, n, n]] for n in range(30))
