"""MODEL_DIR where the backend runs as another user than before, as after an upgrade of a container."""

import os
import tempfile
from pathlib import Path

import pytest

from clinical_backend.errors import ClinicalError
from clinical_backend.settings import load_settings
from clinical_backend.storage.opening import open_database

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")


@pytest.fixture
def folder_for_all():
    """Return a folder that any user can reach, as those of a test cannot be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def open_as(folder, user, group):
    """Open the database of a folder as another user and return what that says, nothing if all is well.

    In a child by fork: an interpreter that is root's alone could not be started anew.
    """
    settings = load_settings(model_dir=folder / "data", label_studio_api_key="k")
    open_database(settings.model_copy(update={"model_dir": folder / "other"})).close()  # imports what the child needs
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        said = "crashed"
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            open_database(settings).close()
            said = ""
        except ClinicalError as error:
            said = str(error)
        finally:
            os.write(writes, said.encode())
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        return pipe.read()


def give(folder, user, group):
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, group)


def test_a_folder_that_another_user_worked_with_is_refused_with_the_cure(folder_for_all):
    data = folder_for_all / "data"
    data.mkdir()
    give(data, 10001, 10001)
    assert open_as(folder_for_all, 10001, 10001) == ""
    said = open_as(folder_for_all, 12345, 0)
    assert said.startswith(f"{data} belongs to another user (10001:10001)")
    assert f"chown -R 12345:0 {data}" in said
    os.chown(data, 12345, 0)
    assert f"{data}/clinical.sqlite3 belongs to another user" in open_as(folder_for_all, 12345, 0)
    give(data, 12345, 0)
    assert open_as(folder_for_all, 12345, 0) == ""


def test_a_folder_of_a_group_serves_each_of_its_users_in_turn(folder_for_all):
    data = folder_for_all / "data"
    data.mkdir()
    give(data, 10001, 0)
    data.chmod(0o2770)
    assert open_as(folder_for_all, 10001, 0) == ""
    assert open_as(folder_for_all, 12345, 0) == ""
