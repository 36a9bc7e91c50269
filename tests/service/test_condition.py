"""What the doctor says of the backend's own state."""

import time
from contextlib import closing

import numpy as np
import pytest

from clinical_backend.errors import StorageError
from clinical_backend.lab.servers.redis_server import RedisServer
from clinical_backend.labelstudio.connection.checks import Status
from clinical_backend.service.condition import examine_clock, examine_condition
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.workspace import workspace as workspace_module
from tests.disks import fill, small_disk
from tests.small_workspace import MeanColours
from tests.storage.started import start_round


@pytest.fixture
def settings(tmp_path):
    return load_settings(model_dir=tmp_path / "state", label_studio_api_key="k")


@pytest.fixture
def kept(settings, monkeypatch):
    """Return the features of a backend that has embedded three images, with a network that is none."""
    network = MeanColours(settings.model_dir)
    monkeypatch.setattr(workspace_module.Workspace, "backbone", network)
    database = Database.in_folder(settings.model_dir)
    (settings.model_dir / "backbones").mkdir()
    (settings.model_dir / "backbones" / "net.onnx").touch()
    store = FeatureStore(database, settings.model_dir / "features", backbone=network.key, dimension=4)
    store.add(list("abc"), np.arange(12, dtype=np.float32).reshape(3, 4))
    Stores(database).projects.register(1)
    Stores(database).projects.change(1, request=None)
    yield database
    database.close()


def examined(settings):
    try:
        database = Database.in_folder(settings.model_dir)
    except StorageError as error:
        return examine_condition(settings, error)
    with closing(database):
        return examine_condition(settings, workspace_module.Workspace(settings, database))


def told(settings):
    return {finding.check: finding for finding in examined(settings)}


def test_a_sound_backend_is_said_to_be_so(settings, kept):
    found = examined(settings)
    assert [finding.check for finding in found] == ["folder", "database", "trail", "backbone", "models", "features"]
    assert {finding.status for finding in found} == {Status.OK}
    assert found[-1].message == "The checksums of 3 rows were compared."


def test_a_broken_trail_is_told_with_its_first_broken_entry(settings, kept):
    assert told(settings)["trail"].message == "The trail holds: 1 entry."
    with kept.write() as session:
        session.connection().exec_driver_sql("DROP TRIGGER trail_keeps_values")
        session.connection().exec_driver_sql("UPDATE trail SET who = 'nobody'")
    found = told(settings)["trail"]
    assert found.status is Status.WARNING
    assert "broken at entry 1. Entry 1 was changed." in found.message
    assert "clinical trail --verify" in found.cure


def test_a_backend_that_has_not_begun_is_sound(settings):
    assert {finding.status for finding in examined(settings)} == {Status.OK}


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ("lab/eye", "Did you mean hf-hub:lab/eye?"),
        ("/nowhere/at/all", "There is no folder"),
        ("timm:resnet18?weights=/nowhere.safetensors", "not a safetensors file that exists"),
    ],
)
def test_a_backbone_that_no_worker_will_find_is_told_before_one_starts(settings, backbone, said):
    found = told(settings.model_copy(update={"backbone": backbone}))["backbone"]
    assert found.status is not Status.OK
    assert said in f"{found.message} {found.cure}"


def test_damaged_features_and_models_are_told_and_left_to_the_next_round(settings, kept):
    (file,) = (settings.model_dir / "features").glob("*.rows")
    content = bytearray(file.read_bytes())
    content[20] ^= 4
    file.write_bytes(content)
    Stores(kept).projects.change(1, published_version="clinical-1")
    folder = settings.model_dir / "checkpoints" / "1" / "clinical-1"
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text("{")
    for _ in range(2):
        found = examined(settings)
        warned = {finding.check: finding for finding in found if finding.status is Status.WARNING}
        assert warned["features"].message == "1 of 3 features were changed or lost on disk."
        assert "Project 1: The checkpoint cannot be read" in warned["models"].message
        assert all(finding.cure for finding in warned.values())


def test_a_damaged_database_is_told_with_its_cure_and_the_rest_is_still_checked(settings):
    settings.model_dir.mkdir()
    (settings.model_dir / "clinical.sqlite3").write_bytes(b"no database" * 100)
    found = told(settings)
    assert found["database"].status is Status.ERROR
    assert "Restore the last backup" in found["database"].cure
    assert found["folder"].status is Status.OK


def test_a_full_disk_is_told(settings, tmp_path):
    with small_disk(tmp_path / "disk"):
        here = settings.model_copy(update={"model_dir": tmp_path / "disk"})
        assert told(here)["folder"].status is Status.WARNING  # 24 MiB are little
        fill(here.model_dir)
        assert told(here)["folder"].status is Status.ERROR


def test_a_round_that_waits_while_the_worker_is_at_another_is_no_alarm(settings, kept):
    stores = Stores(kept)
    stores.projects.change(1, request="for the test", requested_at=time.time() - 300)
    stores.projects.register(2)
    start_round(stores, 2)
    assert "rounds" not in told(settings)


def test_a_round_that_nobody_takes_up_is_told(settings, kept):
    Stores(kept).projects.change(1, request="for the test", requested_at=time.time() - 600)
    assert "has been due for 10 minutes" in told(settings)["rounds"].message


def test_redis_and_its_workers_are_looked_for(settings, kept, tmp_path):
    with RedisServer(tmp_path / "redis") as redis:
        with_redis = settings.model_copy(update={"redis_url": load_settings(redis_url=redis.url).redis_url})
        assert told(with_redis)["workers"].cure == "Start `clinical worker`."
        redis.kill()
        assert told(with_redis)["redis"].status is Status.ERROR


@pytest.mark.parametrize(("ahead", "status"), [(0.0, Status.OK), (-50.0, Status.OK), (-300.0, Status.WARNING)])
def test_clocks_that_differ_are_told(ahead, status):
    class Client:
        class session:
            clock_offset = ahead

    (finding,) = examine_clock(Client())
    assert finding.status is status
    assert ("300 seconds behind" in finding.message) == (status is Status.WARNING)
