"""A real Label Studio that its users see below a path of another server."""

from __future__ import annotations

import pytest
from PIL import Image

from clinical_backend.images.decoders.decoding import decode
from clinical_backend.images.sources import ImageRequest, ImageSource
from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.run import create_demo_project
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.server import free_port
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.publisher import Publisher, QueueItem, queue_score
from clinical_backend.rounds.sync import synchronise
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.workspace import Workspace
from tests.conftest import CACHE, label_config
from tests.end_to_end.google_store import google_environment, google_store
from tests.end_to_end.sub_path import below
from tests.images.decoders.dicoms import RAMP, dicom

pytestmark = pytest.mark.slow

PATH = "/label-studio"


@pytest.fixture(scope="module")
def google_port():
    return free_port()


@pytest.fixture(scope="module")
def hospital(tmp_path_factory, google_port):
    """Return the address of Label Studio below the path, the server behind it, and what was asked beside the path."""
    port = free_port()
    url = f"http://127.0.0.1:{port}{PATH}"
    environment = google_environment(google_port) | {"LABEL_STUDIO_HOST": url}
    folder = tmp_path_factory.mktemp("below-a-path")
    with (
        LabelStudioServer(folder, cache=CACHE, environment=environment) as server,
        below(PATH, server.url, port) as strays,
    ):
        yield url, server, strays


@pytest.fixture(scope="module")
def client(hospital):
    url, server, _ = hospital
    with LabelStudioAdmin(url, server.account.token) as connection:
        yield connection


def test_what_a_round_asks_of_label_studio_is_answered_below_a_path(hospital, client, tmp_path):
    url, server, strays = hospital
    demo = create_demo_project(client, server, drawn_cells(30, 4, seed=1), "below a path")
    project = demo.project.id
    client.update_project(project, sampling="Uncertainty sampling")
    exemplar = next(task for task, name in demo.truth.items() if name == demo.rare)
    SimulatedReader(client).annotate(exemplar, {"diagnosis": [demo.rare], "exemplar": ["more like this"]})
    settings = load_settings(model_dir=tmp_path, label_studio_url=url, label_studio_api_key=server.account.token)
    workspace = Workspace(settings, Database.in_folder(tmp_path))
    workspace.stores.projects.register(project)
    snapshot = synchronise(workspace.project(project))
    assert (snapshot.target.exemplars, len(snapshot.pool)) == (1, 29)
    requests = [ImageRequest(task, image.uri) for task, image in workspace.stores.images.all(project).items()]
    assert {decode(content).size for _, content in workspace.source.fetch_many(requests)} == {(64, 64)}
    queue = snapshot.pool[:-6:-1]
    items = [QueueItem(task, [], queue_score(rank)) for rank, task in enumerate(queue)]
    Publisher(workspace.client).publish(project, "round 1", items)
    assert SimulatedReader(client).next(project).id == queue[0]
    workspace.stores.database.close()
    assert strays == []


def test_uploads_and_stores_are_fetched_below_a_path(hospital, client, google_port, tmp_path):
    url, _, strays = hospital
    uploads = client.create_project("uploads", label_config())
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "scan.png")
    with (tmp_path / "scan.png").open("rb") as file:
        client.session.request("POST", f"api/projects/{uploads.id}/import", files={"scan": ("scan.png", file)})
    (uploaded,) = client.tasks(uploads.id)
    with (
        google_store(google_port, "scans", {"1.dcm": dicom(RAMP)}) as credentials,
        ImageSource(url, client.session.http) as source,
    ):
        stored = client.create_project("stores", label_config())
        (task,) = client.import_tasks(stored.id, [{"data": {"image": "gs://scans/1.dcm"}}])
        storage = {"project": stored.id, "bucket": "scans", "use_blob_urls": True, "presign": False}
        client.session.request(
            "POST", "api/storages/gcs", json=storage | {"google_application_credentials": credentials}
        )
        assert decode(source.fetch(uploaded.data["image"], uploaded.id)).size == (3, 2)
        shown = client.session.request("GET", f"api/tasks/{task}/")["data"]["image"]
        for address in ("gs://scans/1.dcm", shown):
            assert decode(source.fetch(address, task)).size == (4, 1)
        assert shown.startswith(f"{url}/tasks/{task}/resolve/")
    assert strays == []
