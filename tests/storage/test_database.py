import subprocess
import sys
import threading

import numpy as np
import pytest
from sqlalchemy import text

from clinical_backend.errors import StorageError
from clinical_backend.storage.database import Database
from clinical_backend.storage.features import FeatureStore
from clinical_backend.storage.schema import Draw, QueuedTask, RoundState, TaskLabel
from clinical_backend.storage.stores import Stores
from tests.storage.started import start_round


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


def test_tables_of_another_version_are_refused_with_a_cure(tmp_path):
    old = Database.in_folder(tmp_path)
    with old.write() as session:
        session.execute(text("ALTER TABLE projects DROP COLUMN adaptation"))
    old.close()
    with pytest.raises(StorageError, match=r"table projects has no adaptation\. Move clinical\.sqlite3"):
        Database.in_folder(tmp_path)


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
    assert stores.rounds.start(1).request == "the project was connected"
    for reason in ("first", "second", "third"):
        stores.projects.request_round(1, reason)
    assert stores.rounds.start(1).request == "first"
    assert stores.rounds.start(1) is None
    stores.projects.request_round(1, "during the round")
    assert stores.projects.due() == [1]
    assert stores.rounds.start(1).request == "during the round"


def test_a_request_after_a_failure_waits_unless_a_person_asks(stores):
    stores.projects.register(1)
    stores.rounds.start(1)
    stores.projects.request_round(1, "the last round failed", delay=60)
    assert stores.rounds.start(1) is None
    stores.projects.request_round(1, "an annotation came")
    assert stores.rounds.start(1) is None
    stores.projects.request_round(1, "the button", delay=0)
    assert stores.rounds.start(1).request == "the last round failed"


def test_a_round_goes_from_running_to_published_or_leaves_the_old_version(stores):
    stores.projects.register(1)
    first, second = start_round(stores, 1, "a"), start_round(stores, 1, "b")
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
    first, second = start_round(stores, 1, "a"), start_round(stores, 1, "b")
    stores.rounds.publish(first, {}, 5)
    stores.rounds.publish(second, {}, 0)
    assert stores.projects.get(1).published_version == first.version


def test_rounds_of_a_dead_process_are_abandoned(stores):
    stores.projects.register(1)
    start_round(stores, 1, "a")
    assert stores.rounds.abandon_running(1) == 1
    assert stores.rounds.latest(1).state is RoundState.ABANDONED
    assert stores.rounds.abandon_running(1) == 0


def test_a_forgotten_project_leaves_nothing(stores):
    stores.projects.register(1)
    row = start_round(stores, 1, "a")
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
    (file,) = (tmp_path / "features").glob("*.rows")
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


def test_a_feature_file_that_was_deleted_or_cut_short_is_made_anew(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(["a", "b", "c"], np.arange(9, dtype=np.float32).reshape(3, 3))
    (file,) = (tmp_path / "features").glob("*.rows")
    with file.open("r+b") as stream:
        stream.truncate(20)
    assert features.positions(["a", "b", "c"]) == {"a": 0}
    features.add(["d", "c"], np.array([[5, 5, 5], [7, 7, 7]], dtype=np.float32))
    positions = features.positions(["a", "b", "c", "d"])
    assert sorted(positions) == ["a", "c", "d"]
    assert features.read([positions[name] for name in "acd"]).tolist() == [[0, 1, 2], [7, 7, 7], [5, 5, 5]]
    file.unlink()
    assert features.positions(["a", "c", "d"]) == {}
    features.add(["c"], np.full((1, 3), 8, dtype=np.float32))
    assert features.positions(["a", "c", "d"]) == {"c": 0}


def test_threads_that_write_features_at_once_lose_and_mix_nothing(database, tmp_path):
    features = features_in(database, tmp_path)

    def add(start):
        for number in range(start, start + 10):
            features.add([str(number)], np.full((1, 3), number, dtype=np.float32))

    threads = [threading.Thread(target=add, args=(start,)) for start in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    positions = features.positions(str(number) for number in range(20))
    assert sorted(positions.values()) == list(range(20))
    assert all(features.read([positions[str(n)]]).tolist() == [[n, n, n]] for n in range(20))


def test_more_images_than_one_statement_may_name_are_found(database, stores, tmp_path):
    stores.projects.register(1)
    uris = {task: f"uri {task}" for task in range(1, 1501)}
    stores.images.synchronise(1, uris, complete=False)
    stores.images.found(1, {task: f"digest {task}" for task in uris})
    known = stores.images.all(1, uris)
    assert [image.digest for image in known.values()] == [f"digest {task}" for task in uris]
    features = features_in(database, tmp_path)
    features.add([image.digest for image in known.values()], np.zeros((1500, 3), dtype=np.float32))
    assert len(features.positions(image.digest for image in known.values())) == 1500
    stores.images.synchronise(1, {}, complete=True)
    assert stores.images.all(1) == {}


def test_a_file_that_is_no_database_is_refused_with_a_cure(tmp_path):
    (tmp_path / "clinical.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="MODEL_DIR"):
        Database.in_folder(tmp_path)


def test_readers_are_not_kept_waiting_by_a_writer(database, stores):
    stores.projects.register(1)
    with database.write() as session:
        session.execute(text("UPDATE projects SET updates = 5"))
        assert stores.projects.get(1).updates == 0
    assert stores.projects.get(1).updates == 5
    with database.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"


def test_processes_that_open_a_fresh_folder_and_count_at_once_lose_nothing(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from clinical_backend.storage.database import Database\n"
        "from clinical_backend.storage.projects import ProjectStore\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "projects = ProjectStore(Database.in_folder(Path(sys.argv[1]))); projects.register(1)\n"
        "for _ in range(50): projects.count_update(1, 1)\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], **pipes) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    database = Database.in_folder(tmp_path)
    assert Stores(database).projects.get(1).updates == 100
    database.close()
