"""The trail on both databases: only added to, whole, and right whoever writes."""

from __future__ import annotations

import hashlib
import json
import tarfile
from io import BytesIO
from itertools import pairwise

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from clinical_backend.errors import InvalidArgumentError, TrailError
from clinical_backend.storage.backup import write_backup
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores.outside_exemplars import NewExemplar
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.storage.trail import FIRST, Actor, TrailAction, acting, note_action
from tests.storage.processes import barrier, do_things, look_at_once, start

ADA = Actor("ada", "page")
COPIED = "4, at, who, through, project_id, action, details, digest, digest"
COLUMNS = {
    "at": 1.5,
    "who": "eve",
    "through": "command",
    "project_id": 2,
    "action": "looked",
    "details": "{}",
    "previous": "1" * 64,
    "digest": "1" * 64,
}


@pytest.fixture
def engine(url):
    made = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    yield made
    made.dispose()


@pytest.fixture
def tamper(engine, database):
    """Return a function that runs statements as somebody does who owns the database: its triggers do not stop them."""

    def do(*statements):
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("ALTER TABLE trail DISABLE TRIGGER USER"))
            else:
                for name in ("trail_keeps_rows", "trail_keeps_values", "trail_goes_on"):
                    connection.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
            for statement, *values in statements:
                connection.execute(text(statement), *values)

    return do


@pytest.fixture
def five(stores):
    """Five entries, of which the first is that project 1 was connected."""
    stores.projects.register(1)
    for number in range(2, 6):
        with acting(ADA):
            stores.trail.append(TrailAction.MODEL_EXPORTED, 1, number=number)
    return stores.trail


def test_each_entry_is_bound_to_the_one_before_as_the_documents_say(five, engine):
    found = five.verify()
    assert (found.entries, found.broken, found.whole) == (5, None, True)
    previous = FIRST
    with engine.connect() as connection:
        for row in connection.execute(text("SELECT * FROM trail ORDER BY number")).mappings():
            told = {name: value for name, value in row.items() if name != "digest"}
            assert told["previous"] == previous
            previous = hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
            assert row["digest"] == previous
    assert found.digest == previous


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_value_is_found_and_its_entry_named(five, tamper, column):
    tamper((f"UPDATE trail SET {column} = :value WHERE number = 3", {"value": COLUMNS[column]}))
    found = five.verify()
    assert (found.entries, found.broken) == (2, 3)
    assert "3" in found.problem


@pytest.mark.parametrize("number", [1, 3])
def test_an_entry_that_was_deleted_is_named(five, tamper, number):
    tamper((f"DELETE FROM trail WHERE number = {number}",))
    found = five.verify()
    assert (found.broken, found.problem) == (number, f"Entry {number} is missing.")


def test_a_deleted_entry_is_missed_though_the_others_are_numbered_anew(five, tamper):
    tamper(
        ("DELETE FROM trail WHERE number = 3",),
        ("UPDATE trail SET number = 3 WHERE number = 4",),
        ("UPDATE trail SET number = 4 WHERE number = 5",),
    )
    assert five.verify().broken == 3


def test_swapped_entries_are_found(five, tamper):
    tamper(
        ("UPDATE trail SET number = 9 WHERE number = 3",),
        ("UPDATE trail SET number = 3 WHERE number = 4",),
        ("UPDATE trail SET number = 4 WHERE number = 9",),
    )
    assert five.verify().broken == 3


def test_an_inserted_entry_is_found(five, tamper):
    tamper(
        ("UPDATE trail SET number = number + 100 WHERE number > 3",),
        (f"INSERT INTO trail SELECT {COPIED} FROM trail WHERE number = 3",),
        ("UPDATE trail SET number = number - 99 WHERE number > 100",),
    )
    assert five.verify().broken == 4


def test_entries_cut_off_at_the_end_are_found_by_a_digest_that_was_kept(five, tamper):
    kept = five.verify().digest
    assert five.verify(kept).broken is None
    tamper(("DELETE FROM trail WHERE number = 5",))
    assert five.verify().broken is None
    found = five.verify(kept)
    assert (found.entries, found.broken) == (4, 5)
    assert kept in found.problem


def test_a_chain_that_was_made_anew_as_a_whole_does_not_hold_the_kept_digest(five, tamper, stores):
    kept = five.verify().digest
    tamper(("DELETE FROM trail",))
    stores.trail.append(TrailAction.MODEL_EXPORTED, 1)
    assert five.verify().broken is None
    assert five.verify(kept).broken is not None


def test_a_chain_goes_on_after_a_digest_that_was_kept_earlier(five, stores):
    kept = five.verify().digest
    stores.trail.append(TrailAction.MODEL_EXPORTED, 1)
    assert five.verify(kept).broken is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trail SET who = 'eve' WHERE number = 2",
        "UPDATE trail SET who = who",
        "DELETE FROM trail WHERE number = 5",
        "DELETE FROM trail",
    ],
)
def test_the_database_itself_refuses_to_change_or_delete(five, engine, statement):
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))
    assert five.verify().entries == 5


def test_the_database_itself_refuses_to_replace(five, engine):
    postgresql = engine.dialect.name == "postgresql"
    values = "SELECT 5, at, 'eve', through, project_id, action, details, previous, digest FROM trail WHERE number = 5"
    replace = "TRUNCATE trail" if postgresql else f"INSERT OR REPLACE INTO trail {values}"
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(replace))
    assert five.verify().entries == 5


def test_an_entry_stands_with_what_it_tells_of_or_not_at_all(stores, engine):
    stores.projects.register(1)

    def entitle(fault):
        with stores.database.write() as session:
            session.execute(text("UPDATE projects SET title = 'new'"))
            note_action(session, TrailAction.SETTING_CHANGED, 1, setting="title")
            if fault is not None:
                raise fault

    with pytest.raises(RuntimeError):
        entitle(RuntimeError())
    assert (stores.projects.get(1).title, stores.trail.count(1)) == (None, 1)
    entitle(None)
    assert (stores.projects.get(1).title, stores.trail.count(1)) == ("new", 2)


def test_what_the_trail_cannot_tell_is_not_done(stores, engine):
    stores.projects.register(1)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE trail RENAME TO elsewhere"))
    with pytest.raises(TrailError, match=r"The trail cannot be written.*is not done") as told:
        stores.projects.edit(1, lambda row: setattr(row, "page_options", {"queue_size": 7}))
    assert "trail --verify" in told.value.cure
    assert stores.projects.get(1).page_options == {}


def test_what_is_refused_leaves_no_entry(stores):
    stores.projects.register(1)
    with pytest.raises(InvalidArgumentError):
        stores.outside_exemplars.add(
            1, "a", [NewExemplar("", str(n), b"") for n in range(60)], by="ada", note="", keeps_pixels=True
        )
    assert [one.action for one in stores.trail.each(1)] == ["connected"]


def test_the_chain_stays_right_with_several_processes_that_write_at_once(url, stores):
    stores.projects.register(1)
    stores.images.synchronise(1, {1: "/1.png"}, complete=True)
    together, times = barrier(3), 20
    running = [start(do_things, url, name, times, together)[0] for name in ("ada", "eve", "bob")]
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0, 0]
    found = stores.trail.verify()
    assert found.broken is None
    entries = list(stores.trail.each(1))
    exported = [one for one in entries if one.action == TrailAction.MODEL_EXPORTED]
    assert {(one.who, one.details["number"]) for one in exported} == {
        (name, number) for name in ("ada", "eve", "bob") for number in range(0, times, 2)
    }
    # Of tags, each that was set stands between two that were removed: entries are in the order of what they tell of.
    tags = [one.action for one in entries if one.action in {TrailAction.CASES_TAGGED, TrailAction.TAGS_REMOVED}]
    assert all(first != second for first, second in pairwise(tags))


def test_several_processes_that_look_at_once_are_told_of_once(url, stores):
    stores.projects.register(1)
    together = barrier(3)
    running = [start(look_at_once, url, together)[0] for _ in range(3)]
    for process in running:
        process.join(120)
    assert [one.action for one in stores.trail.each(1)] == ["connected", "looked"]
    stores.trail.look(1, ADA, "queue", "2026-01-02")
    stores.trail.look(1, ADA, "model", "2026-01-02")
    stores.trail.look(1, ADA, "model", "2026-01-02")
    assert stores.trail.count(1, action="looked") == 3


def test_entries_are_chosen_by_action_and_person_and_outlive_their_project(five, stores):
    assert [one.details for one in five.some(1, 1, 2, who="ada")] == [{"number": 4}, {"number": 3}]
    assert five.count(1, action=TrailAction.CONNECTED) == 1
    assert five.people(1) == ["ada", "the backend"]
    stores.projects.forget(1)
    stores.projects.forget(1)
    assert [one.action for one in five.some(1, 0, 9)][:2] == ["disconnected", "model exported"]
    assert five.some(2, 0, 9) == []


def test_who_reads_entries_slowly_keeps_no_transaction_open(five, stores, monkeypatch):
    monkeypatch.setattr("clinical_backend.storage.stores.trail._ROWS", 2, raising=False)
    found = []
    for one in stores.trail.each(1):
        assert stores.database._engine.pool.checkedout() == 0
        found.append(one.number)
    assert found == sorted(found)
    assert len(found) == stores.trail.count(1) > 2


def test_a_check_that_has_no_time_says_how_far_it_came(five, stores, monkeypatch):
    monkeypatch.setattr("clinical_backend.storage.trail_chain._BETWEEN_LOOKS", 2)
    found = five.verify(seconds=0.0)
    assert (found.entries, found.whole, found.broken) == (2, False, None)


def test_a_backup_holds_the_trail_and_says_whether_it_is_whole(tmp_path):
    folder, back = tmp_path / "model", tmp_path / "back"
    database = Database.in_folder(folder)
    Stores(database).projects.register(1)
    archive = BytesIO()
    told = write_backup(folder, archive)
    assert (told.entries, told.broken) == (1, None)
    database.close()
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(back, filter="data")
    restored = Database.in_folder(back)
    assert Stores(restored).trail.verify(told.digest).broken is None
    with pytest.raises(DBAPIError, match="append-only"), restored.write() as session:
        session.execute(text("DELETE FROM trail"))
    restored.close()


def test_a_database_that_was_changed_past_the_backend_says_so_in_the_trail_and_the_log(tmp_path, caplog):
    database = Database.in_folder(tmp_path)
    Stores(database).projects.register(1)
    database.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'clinical.sqlite3'}")
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER trail_keeps_values"))
        connection.execute(text("UPDATE trail SET who = 'eve'"))
    engine.dispose()
    database = Database.in_folder(tmp_path)
    assert "The trail is broken at entry 1" in caplog.text
    with database.read() as session:
        last = session.execute(text("SELECT who, action FROM trail ORDER BY number DESC LIMIT 1")).one()
    database.close()
    assert last == ("the backend", "database found changed past the backend")
