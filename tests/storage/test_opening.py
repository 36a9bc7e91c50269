from threading import Barrier

import pytest

from clinical_backend.errors import StorageError
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.opening import open_database
from tests.disks import read_only
from tests.storage.test_database import run_at_once


def open_with(url, folder):
    open_database(load_settings(database_url=url, model_dir=folder)).close()


def test_a_database_is_opened_with_the_folder_it_was_used_with_and_no_other(url, tmp_path):
    open_with(url, tmp_path / "shared")
    open_with(url, tmp_path / "shared")
    with pytest.raises(StorageError, match="not the one that the database of DATABASE_URL was used with") as refusal:
        open_with(url, tmp_path / "local")
    (tmp_path / "shared").rename(tmp_path / "local")
    open_with(url, tmp_path / "local")
    identity = (tmp_path / "local" / "database-id").read_text().strip()
    assert f"write {identity} into {tmp_path / 'local' / 'database-id'}" in refusal.value.cure


def test_of_two_folders_that_a_fresh_database_is_opened_with_at_once_one_is_refused(url, tmp_path):
    Database(url).close()
    refused = []
    together = Barrier(2)

    def open_one(name):
        together.wait()
        try:
            open_with(url, tmp_path / name)
        except StorageError:
            refused.append(name)

    run_at_once([lambda: open_one("a"), lambda: open_one("b")])
    assert len(refused) == 1


def test_a_folder_that_cannot_be_written_is_told_and_the_next_one_is_taken(postgresql, tmp_path):
    url = postgresql.new_database()
    (tmp_path / "closed").mkdir()
    with read_only(tmp_path / "closed"), pytest.raises(StorageError, match="Set MODEL_DIR to a folder"):
        open_with(url, tmp_path / "closed")
    open_with(url, tmp_path / "open")
