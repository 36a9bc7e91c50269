"""Databases with flipped bytes: each flip is harmless, repaired, or told by name; SQLite, which keeps no checksums."""

import random
import sqlite3

import pytest
from sqlalchemy import text

from clinical_backend.errors import StorageError
from clinical_backend.origins import Draw, Origin
from clinical_backend.storage.database import Database
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import Feature, QueuedTask, TaskImage, TaskLabel
from clinical_backend.storage.stores.stores import Stores
from tests.storage.started import start_round


@pytest.fixture
def file(tmp_path):
    """Return the file of a database with a published round, closed."""
    database = Database.in_folder(tmp_path)
    stores = Stores(database)
    stores.projects.register(1, {"queue_size": 7})
    row = start_round(stores, 1)
    stores.rounds.keep_queue(
        [
            QueuedTask(
                round_id=row.id, rank=n, task_id=n, draw=Draw.TARGET, predicted="rare", probability=0.5 + n / 200
            )
            for n in range(60)
        ]
    )
    stores.rounds.publish(row, RoundReport(target=("rare",), counts=Counts(queue=60)), 60)
    with database.write() as session:
        session.add_all(
            TaskLabel(project_id=1, task_id=n, label="rare", origin=Origin.QUEUE, draw=Draw.AUDIT, labelled_at=1.5)
            for n in range(60, 90)
        )
        session.add_all(TaskImage(project_id=1, task_id=n, uri=f"/data/{n}.png", digest=f"{n:064}") for n in range(90))
        session.add_all(Feature(backbone="net", digest=f"{n:064}", position=n, checksum=n) for n in range(90))
    database.close()
    return tmp_path / "clinical.sqlite3"


def contents(database):
    with database.read() as session:
        tables = ("projects", "rounds", "queued_tasks", "task_labels", "task_images", "features", "suspected_labels")
        return {name: session.execute(text(f"SELECT * FROM {name}")).all() for name in tables}


def opened(file):
    database = Database(f"sqlite:///{file}")
    database.close()


def change(file, statement):
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA ignore_check_constraints=1")
        connection.execute(statement)
    connection.close()


def test_a_flipped_byte_is_harmless_or_told(file, caplog):
    whole = file.read_bytes()
    seal = file.with_name("clinical.sqlite3-seal").read_text()
    first = Database(f"sqlite:///{file}")
    expected = contents(first)
    first.close()
    draw = random.Random(16)
    told = 0
    for _ in range(60):
        changed = bytearray(whole)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        for path in file.parent.glob("clinical.sqlite3*"):
            path.unlink()
        file.write_bytes(changed)
        file.with_name("clinical.sqlite3-seal").write_text(seal)
        caplog.clear()
        try:
            database = Database(f"sqlite:///{file}")
        except StorageError:
            told += 1
            continue
        try:
            same = contents(database) == expected
        except StorageError:
            same = False
        database.close()
        assert same or "was changed past the backend" in caplog.text
        told += "was changed past the backend" in caplog.text
    assert told


def test_what_was_changed_past_the_backend_makes_rounds_due_and_is_noted(file, caplog):
    change(file, "UPDATE queued_tasks SET probability = 0.75 WHERE rank = 3")
    database = Database(f"sqlite:///{file}")
    assert "was changed past the backend" in caplog.text
    project = Stores(database).projects.get(1)
    assert (project.request, project.listed_at) == ("the database was changed past the backend", 0.0)
    assert file.with_name("clinical.sqlite3-changed").exists()
    database.close()
    caplog.clear()
    opened(file)
    assert caplog.text == ""


def test_what_the_backend_changes_itself_is_not_told(file, caplog):
    for number in range(3):
        database = Database(f"sqlite:///{file}")
        Stores(database).projects.change(1, title=f"title {number}")
        if number != 1:  # as if it were killed
            database.close()
        else:
            database._engine.dispose()
    assert caplog.text == ""


def test_another_process_that_has_it_open_keeps_no_false_seal(file, caplog):
    first, second = Database(f"sqlite:///{file}"), Database(f"sqlite:///{file}")
    Stores(second).projects.change(1, title="before")
    first.close()
    Stores(second).projects.change(1, title="after")
    second._engine.dispose()
    opened(file)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("task_labels", "UPDATE task_labels SET draw = 'AUDIU' WHERE task_id = 61"),
        ("task_labels", "UPDATE task_labels SET answers = '[[1, \"a\"' WHERE task_id = 61"),
        ("task_images", "UPDATE task_images SET attempts = 'many' WHERE task_id = 61"),
        ("features", "UPDATE features SET position = x'00' WHERE position = 61"),
    ],
)
def test_rows_that_can_be_made_anew_are_forgotten_where_they_are_damaged(file, caplog, table, statement):
    change(file, statement)
    database = Database(f"sqlite:///{file}")
    assert f"1 rows of the table {table} are damaged" in caplog.text
    found = contents(database)
    assert len(found[table]) == {"task_labels": 29}.get(table, 89)
    assert Stores(database).labels.all(1).keys() <= set(range(60, 90))
    database.close()


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("rounds", "UPDATE rounds SET state = 'PUBLISHEE'"),
        ("rounds", "UPDATE rounds SET report = '{\"counts\"'"),
        ("rounds", "UPDATE rounds SET started_at = 'then'"),
        ("projects", "UPDATE projects SET options = 'x'"),
        ("projects", "UPDATE projects SET updates = 'few'"),
        ("queued_tasks", "UPDATE queued_tasks SET draw = 'target' WHERE rank = 2"),
        ("queued_tasks", "UPDATE queued_tasks SET probability = 1e300 WHERE rank = 2"),
    ],
)
def test_rows_that_cannot_be_made_anew_keep_the_database_closed_with_a_cure(file, table, statement):
    change(file, statement)
    with pytest.raises(StorageError, match=f"rows of the table {table} hold what .* Restore the last backup"):
        opened(file)


def test_an_index_that_lost_a_row_is_made_anew(file, caplog):
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA writable_schema=1")
    connection.execute(
        "UPDATE sqlite_master SET sql = 'CREATE INDEX features_by_digest ON features (backbone)'"
        " WHERE name = 'features_by_digest'"
    )
    connection.commit()
    connection.close()
    opened(file)
    assert "Indexes of the database are damaged and are made anew" in caplog.text


@pytest.mark.parametrize("damage", ["no database", "a page of zeros", "cut short"])
def test_a_database_that_cannot_be_read_is_refused_with_a_cure(file, damage):
    content = bytearray(file.read_bytes())
    if damage == "no database":
        content[:16] = b"PNG" * 5 + b"."
    elif damage == "a page of zeros":
        content[4096:8192] = bytes(4096)
    else:
        del content[20_000:]
    file.write_bytes(content)
    with pytest.raises(StorageError, match="Restore the last backup of the database"):
        opened(file)


def test_a_value_that_is_damaged_while_the_backend_runs_is_told_by_name(database):
    stores = Stores(database)
    stores.projects.register(1)
    row = start_round(stores, 1)
    with database.write() as session:
        session.connection().exec_driver_sql(f"UPDATE rounds SET state = 'GONE' WHERE id = {row.id}")
    with pytest.raises(StorageError, match="The database is damaged"):
        stores.rounds.latest(1)
