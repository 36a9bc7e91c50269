import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from clinical_backend.errors import StorageError
from clinical_backend.lab.servers.postgresql_server import PASSWORD
from clinical_backend.origins import Draw
from clinical_backend.settings import load_settings
from clinical_backend.storage import database as opening
from clinical_backend.storage.database import Database
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import QueuedTask, RoundState, TaskLabel
from clinical_backend.storage.stores import images
from clinical_backend.storage.stores.stores import Stores
from tests.disks import full_disk, read_only
from tests.storage import processes
from tests.storage.started import start_round


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
            stores.projects.count_annotations(1, 1)

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
    stores.rounds.publish(first, RoundReport(counts=Counts(queue=5)), 5)
    stores.rounds.fail(second.id, 1, "no disk", state=RoundState.FAILED)
    project = stores.projects.get(1)
    assert (project.published_version, project.problem, project.failures) == (first.version, "no disk", 1)
    assert stores.rounds.published(1).number == 1
    assert [row.state for row in stores.rounds.history(1)] == [RoundState.FAILED, RoundState.PUBLISHED]


def test_a_round_without_a_queue_keeps_the_published_version(stores):
    stores.projects.register(1)
    first, second = start_round(stores, 1, "a"), start_round(stores, 1, "b")
    stores.rounds.publish(first, RoundReport(), 5)
    stores.rounds.publish(second, RoundReport(), 0)
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


def test_images_follow_the_tasks_of_label_studio(stores, monkeypatch):
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
    assert stores.images.tasks(1) == [1, 2, 3, 2000]
    assert stores.images.digests(1) == stores.images.digests(1, [2000, 1, 2]) == {1: "digest"}
    monkeypatch.setattr(images, "_MANY", 1)
    assert stores.images.all(1, [2, 2000, 4]) == {task: known[task] for task in (2, 2000)}


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


def test_a_reader_sees_one_state_of_the_database(database, stores):
    stores.projects.register(1)
    with database.read() as session:
        before = session.scalar(text("SELECT updates FROM projects"))
        stores.projects.count_annotations(1, 5)
        assert session.scalar(text("SELECT updates FROM projects")) == before


def test_processes_that_open_an_empty_database_and_count_at_once_lose_nothing(url):
    together = processes.barrier(3)
    writers = [processes.start(processes.count, url, 50, together)[0] for _ in range(3)]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    database = Database(url)
    assert Stores(database).projects.get(1).updates == 150
    database.close()


def test_more_images_than_one_statement_may_name_are_found(stores):
    stores.projects.register(1)
    uris = {task: f"uri {task}" for task in range(1, 1501)}
    stores.images.synchronise(1, uris, complete=False)
    stores.images.found(1, {task: f"digest {task}" for task in uris})
    known = stores.images.all(1, uris)
    assert [image.digest for image in known.values()] == [f"digest {task}" for task in uris]
    stores.images.synchronise(1, {}, complete=True)
    assert stores.images.all(1) == {}


def test_what_is_written_comes_back_as_it_was(stores):
    options = {"rare_classes": ["ä", "b"], "audit_share": 0.1, "preannotate": None}
    stores.projects.register(1, options)
    row = start_round(stores, 1, "a reason")
    queue = [
        QueuedTask(round_id=row.id, rank=place, task_id=2_000_000_000 + place, draw=Draw.AUDIT, probability=0.1 + 0.2)
        for place in range(3000)
    ]
    stores.rounds.keep_queue(queue)
    report = RoundReport(counts=Counts(queue=3000), notes=("ä",), seconds={"sync": 0.1 + 0.2})
    stores.rounds.publish(row, report, 3000)
    assert stores.projects.get(1).options == options
    published = stores.rounds.published(1)
    assert (published.report, published.state, published.started_at) == (report, RoundState.PUBLISHED, row.started_at)
    kept = stores.rounds.queue(row.id)
    assert [queued.task_id for queued in kept] == [2_000_000_000 + place for place in range(3000)]
    assert {(queued.draw, queued.probability) for queued in kept} == {(Draw.AUDIT, 0.1 + 0.2)}
    assert stores.rounds.queued(row.id, range(2_000_000_000, 2_000_004_000)) == {queued.task_id for queued in kept}


def test_of_many_that_begin_a_round_at_once_one_does(stores):
    stores.projects.register(1)
    begun = []
    together = threading.Barrier(4)

    def begin():
        together.wait()
        begun.append(stores.rounds.start(1))

    run_at_once([begin] * 4)
    assert sum(row is not None for row in begun) == 1
    assert [row.number for row in stores.rounds.history(1)] == [1]


def test_of_many_that_register_a_project_at_once_one_is_the_first(stores):
    together = threading.Barrier(4)
    first = []

    def register():
        together.wait()
        first.append(stores.projects.register(1))

    run_at_once([register] * 4)
    assert sorted(first) == [False, False, False, True]


def test_tasks_taken_over_by_several_at_once_are_there_once(stores):
    stores.projects.register(1)
    uris = {task: f"uri {task}" for task in range(1, 301)}
    together = threading.Barrier(3)

    def synchronise():
        together.wait()
        stores.images.synchronise(1, uris, complete=True)
        stores.images.failed(1, dict.fromkeys(uris, "unreadable"))

    run_at_once([synchronise] * 3)
    assert {image.attempts for image in stores.images.all(1).values()} == {3}


def run_at_once(functions):
    with ThreadPoolExecutor(len(functions)) as threads:
        for future in [threads.submit(function) for function in functions]:
            future.result()


def test_a_killed_postgresql_is_told_without_the_password_and_the_next_call_after_its_return_works(postgresql):
    database = Database(postgresql.new_database())
    stores = Stores(database)
    stores.projects.register(1)
    postgresql.kill()
    try:
        for call in (stores.projects.ids, lambda: stores.projects.register(2)):
            with pytest.raises(StorageError, match="See that PostgreSQL runs") as refusal:
                call()
            assert PASSWORD not in str(refusal.value)
            assert refusal.value.__suppress_context__
    finally:
        postgresql.start()
    assert stores.projects.ids() == [1]
    stores.projects.register(2)
    database.close()


def test_a_write_that_loses_postgresql_half_way_changes_nothing(postgresql):
    database = Database(postgresql.new_database())
    stores = Stores(database)
    stores.projects.register(1)

    def write():
        with database.write() as session:
            session.execute(text("UPDATE projects SET updates = 5"))
            postgresql.kill()
            postgresql.start()
            session.execute(text("UPDATE projects SET updates = 6"))

    with pytest.raises(StorageError, match="cannot be written"):
        write()
    assert stores.projects.get(1).updates == 0
    database.close()


def test_a_database_that_cannot_be_written_is_told_and_can_be_read(postgresql):
    url = postgresql.new_database()
    stores = Stores(Database(url))
    stores.projects.register(1)
    stores.database.close()
    read_only = Database(f"{url}?options=-cdefault_transaction_read_only%3Don")
    with pytest.raises(StorageError, match="lets the user of DATABASE_URL write"):
        Stores(read_only).projects.register(2)
    assert Stores(read_only).projects.ids() == [1]
    read_only.close()


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path):
    database = Database.in_folder(tmp_path)
    stores = Stores(database)
    stores.images.synchronise(1, {}, complete=True)
    stores.projects.register(1)
    many = dict.fromkeys(range(3000), "x" * 1000)
    with full_disk(1_000_000), pytest.raises(StorageError, match="writable disk with free space"):
        stores.images.synchronise(1, many, complete=True)
    assert stores.images.all(1) == {}
    stores.images.synchronise(1, many, complete=True)
    assert len(stores.images.all(1)) == 3000
    database.close()


def test_a_folder_that_became_read_only_is_told_and_what_is_there_can_be_read(tmp_path):
    database = Database.in_folder(tmp_path)
    Stores(database).projects.register(1)
    database.close()
    with read_only(tmp_path), pytest.raises(StorageError, match="MODEL_DIR is on a writable disk"):
        Database.in_folder(tmp_path)
    database = Database.in_folder(tmp_path)
    assert Stores(database).projects.ids() == [1]
    database.close()


@pytest.mark.parametrize("wrong", ["mysql://u:secret@h/d", "secret", "://secret", "postgresql://u:secret@h:port/d"])
def test_a_url_of_something_else_is_refused_without_repeating_it(wrong):
    settings = load_settings(database_url=wrong)
    with pytest.raises(StorageError, match="Set it to postgresql://") as refusal:
        open_database(settings)
    assert "secret" not in str(refusal.value)
    assert "secret" not in str(settings)


def test_a_wrong_password_and_a_database_that_is_not_there_are_told(postgresql):
    url = postgresql.new_database()
    with pytest.raises(StorageError, match=r"cannot be opened: .*authentication failed") as refusal:
        Database(url.replace("secret", "wrong%2Fsecret"))
    assert "wrong" not in str(refusal.value)
    with pytest.raises(StorageError, match='database "nowhere" does not exist'):
        Database(postgresql.url("nowhere"))


def test_a_user_who_may_not_make_tables_is_told(postgresql):
    database = postgresql.new_database().rpartition("/")[2]
    postgresql.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    with pytest.raises(
        StorageError, match=r"cannot be opened: permission denied .* user of DATABASE_URL write"
    ) as refusal:
        Database(postgresql.url(database, "guest"))
    assert PASSWORD not in str(refusal.value)


def test_many_that_open_new_databases_at_once_wait_for_each_other(tmp_path):
    together = threading.Barrier(4)

    def open_all(_):
        for number in range(150):
            together.wait(60)
            engine = opening._make_engine(make_url(f"sqlite:///{tmp_path / str(number)}"))
            with engine.connect():
                pass
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_all, range(4))) == [None] * 4


STRANGE = "a\ud800\0"


def test_text_that_no_database_holds_is_written_out(stores):
    stores.projects.register(1, {"group_field": STRANGE, STRANGE: [STRANGE]})
    stores.projects.change(1, title=STRANGE, problem=STRANGE)
    stores.images.synchronise(1, {1: STRANGE, 2: "b"}, complete=True)
    stores.images.failed(1, {1: STRANGE})
    stores.labels.replace(
        1, [TaskLabel(project_id=1, task_id=1, label=STRANGE, labelled_at=1.0, answers=[["1", STRANGE]])]
    )
    written = "a\\ud800\\u0000"
    project = stores.projects.get(1)
    assert (project.title, project.problem) == (written, written)
    assert project.options == {"group_field": written, written: [written]}
    assert (stores.images.all(1)[1].uri, stores.images.all(1)[1].problem) == (written, written)
    label = stores.labels.all(1)[1]
    assert (label.label, label.answers) == (written, [["1", written]])
    assert stores.labels.cases(1) == {written: (1, 1)}
