import io
import sqlite3
import sys
import tarfile
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clinical_backend.commands import maintenance
from clinical_backend.errors import InvalidArgumentError, StorageError
from clinical_backend.settings import load_settings
from clinical_backend.storage import backup
from clinical_backend.storage.backup import write_backup
from clinical_backend.storage.database import Database
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.stores.stores import Stores


def restored(folder, target):
    """Return a folder with what a backup of another one holds."""
    archive = io.BytesIO()
    write_backup(folder, archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(target, filter="tar")
    return target


def features_of(database, folder):
    return FeatureStore(database, folder / "features", backbone="b", dimension=2)


def test_what_was_indexed_while_it_was_copied_is_in_the_files(tmp_path):
    folder = tmp_path / "data"
    database = open_database(load_settings(model_dir=folder))
    Stores(database).projects.register(7)
    features = features_of(database, folder)
    features.add(["first"], np.zeros((1, 2), np.float32))
    ended = threading.Event()

    def write():
        number = 1
        while not ended.is_set():
            features.add([f"{number}"], np.full((1, 2), number, np.float32))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copy = restored(folder, tmp_path / "copy")
    finally:
        ended.set()
        writer.join()
        database.close()
    with closing(sqlite3.connect(copy / "clinical.sqlite3")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        digests = [digest for (digest,) in raw.execute("SELECT digest FROM features")]
    database = open_database(load_settings(model_dir=copy))
    positions = features_of(database, copy).positions(digests)
    assert positions.keys() == set(digests) >= {"first"}
    numbers = [digest for digest in digests if digest.isdigit()]
    read = features_of(database, copy).read([positions[number] for number in numbers])
    assert read[:, 0].tolist() == [float(number) for number in numbers]
    assert list(Stores(database).projects.ids()) == [7]
    database.close()


def test_journals_locks_and_compiled_code_are_left_out_and_modes_stay(tmp_path):
    folder = tmp_path / "data"
    database = open_database(load_settings(model_dir=folder))  # open: its journals are there
    features_of(database, folder).add(["a"], np.zeros((1, 2), np.float32))
    for name in ("locks", "numba"):
        (folder / name).mkdir()
        (folder / name / "scratch").touch()
    copy = restored(folder, tmp_path / "copy")
    database.close()
    names = {str(path.relative_to(copy)) for path in copy.rglob("*")}
    assert {name for name in names if name.startswith(("clinical", "locks", "numba"))} == {"clinical.sqlite3"}
    assert names == {"clinical.sqlite3", "features", *(name for name in names if name.endswith(".rows"))}
    assert (copy / "clinical.sqlite3").stat().st_mode & 0o777 == 0o600
    assert copy.stat().st_mode & 0o777 == 0o700


def test_a_copy_of_a_database_that_rests_is_not_taken_for_one_that_was_changed(tmp_path):
    folder = tmp_path / "data"
    for _ in range(2):  # the second time, nothing is written and the seal stays
        Database.in_folder(folder).close()
    assert (folder / "clinical.sqlite3-seal").exists()
    with closing(Database.in_folder(restored(folder, tmp_path / "copy"))) as database:
        assert not database.note.exists()


def test_a_backup_is_no_part_of_the_folder_afterwards(tmp_path):
    folder = tmp_path / "data"
    open_database(load_settings(model_dir=folder)).close()
    before = {path.name for path in folder.iterdir()}
    restored(folder, tmp_path / "copy")
    assert {path.name for path in folder.iterdir()} == before


def test_a_damaged_database_is_not_taken_for_a_backup(tmp_path):
    (tmp_path / "label_studio.sqlite3").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(StorageError, match="backup is not whole"):
        write_backup(tmp_path, io.BytesIO())


def test_what_comes_after_the_database_was_copied_is_in_the_backup_too(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    open_database(load_settings(model_dir=folder)).close()
    copy_database = backup._add_database

    def copy_late(*arguments):
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "model").touch()
        copy_database(*arguments)

    monkeypatch.setattr(backup, "_add_database", copy_late)
    assert (restored(folder, tmp_path / "copy") / "checkpoints" / "model").exists()


def test_a_part_that_cannot_be_read_is_not_left_out_silently(tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(backup.os, "scandir", fail)
    with pytest.raises(StorageError, match=r"not whole.*Permission denied"):
        write_backup(tmp_path, io.BytesIO())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match="no folder"):
        write_backup(tmp_path / "none", io.BytesIO())


def test_an_archive_that_cannot_be_written_is_said_to_be_no_backup(tmp_path):
    (tmp_path / "file").write_bytes(bytes(100_000))
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageError, match="archive: No space left"):
        write_backup(tmp_path, full)


def test_others_may_not_read_an_archive_that_a_shell_opened_for_all(monkeypatch, tmp_path):
    folder = tmp_path / "data"
    open_database(load_settings(model_dir=folder)).close()
    with (tmp_path / "backup.tar").open("w", encoding="utf-8") as archive:
        (tmp_path / "backup.tar").chmod(0o644)
        monkeypatch.setattr(sys, "stdout", archive)
        maintenance.backup(folder)
    assert (tmp_path / "backup.tar").stat().st_mode & 0o777 == 0o600
    assert tarfile.is_tarfile(tmp_path / "backup.tar")


def test_an_archive_is_not_written_to_a_screen(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(InvalidArgumentError, match="clinical backup > FILE"):
        maintenance.backup(tmp_path)
