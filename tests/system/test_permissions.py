"""What lies in MODEL_DIR is its user's alone, whatever the umask, and what earlier versions left there as well."""

import os
import stat

import numpy as np
import pytest

from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.system.files import write_aside
from clinical_backend.system.permissions import (
    file_mode,
    keep_archive_private,
    keep_private,
    make_folder,
    private_umask,
)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct, autouse=True)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder):
    """Return the mode of a folder and of all in it, by path."""
    found = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): oct(stat.S_IMODE(path.lstat().st_mode)) for path in found}


def work_in(folder):
    """Keep something of each kind, and look at what is there while the database is open."""
    database = open_database(load_settings(model_dir=folder, label_studio_api_key="k"))
    Stores(database).projects.register(1)
    store = FeatureStore(database, folder / "features", backbone="b", dimension=2)
    store.add(["a"], np.ones((1, 2), np.float32))
    checkpoints = folder / "checkpoints" / "1" / "clinical-1"
    make_folder(checkpoints)
    write_aside(checkpoints / "model", b"x")
    found = modes(folder)
    database.close()
    return found


def test_everything_that_is_made_is_its_users_alone(tmp_path):
    found = work_in(tmp_path / "deep" / "model-dir")
    assert {"clinical.sqlite3-wal", "clinical.sqlite3-shm"} <= set(found)
    assert [name for name, mode in found.items() if mode not in {"0o600", "0o700"}] == []
    assert found["."] == found["features"] == found["checkpoints/1/clinical-1"] == "0o700"
    assert found["clinical.sqlite3"] == found["checkpoints/1/clinical-1/model"] == "0o600"
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700


def test_what_an_earlier_version_left_open_is_closed_and_what_is_not_ours_is_left(tmp_path):
    folder = tmp_path / "model-dir"
    work_in(folder)
    (folder / "notes.txt").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (folder / "features" / "link").symlink_to(elsewhere)
    for path in [folder, *folder.rglob("*"), elsewhere]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    found = work_in(folder)
    del found["features/link"]
    assert found.pop("notes.txt") == "0o666"
    assert [name for name, mode in found.items() if mode not in {"0o600", "0o700"}] == []
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o666


def test_a_folder_that_is_shared_with_a_group_on_purpose_stays_so(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2777)
    found = work_in(folder)
    assert found["."] == "0o2770"
    assert set(found.values()) == {"0o2770", "0o660"}
    assert (private_umask(folder), file_mode(folder)) == (0o007, 0o660)
    assert private_umask(tmp_path / "new") == 0o077


def test_a_folder_of_everybodys_is_left_to_everybody_but_for_what_is_ours(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    found = work_in(folder)
    assert found.pop(".") == "0o1777"
    assert set(found.values()) == {"0o600", "0o700"}


def test_a_database_elsewhere_is_its_users_alone_too(tmp_path):
    Database(f"sqlite:///{tmp_path / 'state.db'}").close()
    assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(("shared", "mode"), [(False, 0o600), (True, 0o660)], ids=["one user's", "a group's"])
def test_an_archive_of_a_folder_is_no_more_open_than_the_folder(tmp_path, shared, mode):
    folder = tmp_path / "model-dir"
    folder.mkdir()
    folder.chmod(0o2770 if shared else 0o755)
    with (tmp_path / "backup.tar").open("wb") as archive:
        os.fchmod(archive.fileno(), 0o664)
        keep_archive_private(archive.fileno(), folder)
        assert stat.S_IMODE(os.fstat(archive.fileno()).st_mode) == mode
    reading, writing = os.pipe()
    keep_archive_private(writing, folder)
    os.close(reading)
    os.close(writing)


def test_rights_that_cannot_be_taken_away_are_said(tmp_path, monkeypatch, caplog):
    tmp_path.chmod(0o755)

    def refuse(*_arguments, **_named):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    keep_private(tmp_path)
    assert "Others may read" in caplog.text
    assert "Operation not permitted" in caplog.text
