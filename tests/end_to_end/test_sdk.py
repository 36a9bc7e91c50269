"""The plugin under the servers of the ``label-studio-ml`` SDK: its release on PyPI, and 2.x at a pinned commit.

2.x is on GitHub only. Where that cannot be reached, its tests are skipped; then tests/test_plugin.py plays what it does
with a class. ``make .venv-label-studio-ml-2/installed`` installs it.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import httpx2
import pytest

from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.server import free_port
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.settings import load_settings
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.stores.stores import Stores
from tests.end_to_end.conftest import CREDENTIALS, wait_until

ROOT = Path(__file__).parent.parent.parent
CAPTURES = ROOT / "tests" / "labelstudio" / "captures"
SDK_1 = ROOT / ".venv-label-studio-ml" / "bin" / "python"
SDK_2 = Path(os.environ.get("LABEL_STUDIO_ML_PYTHON") or ROOT / ".venv-label-studio-ml-2" / "bin" / "python")
COMMIT = re.search("@([0-9a-f]{40})", (ROOT / "Makefile").read_text())[1]
LOGIN = (CREDENTIALS["BASIC_AUTH_USER"], CREDENTIALS["BASIC_AUTH_PASS"])

needs_sdk_2 = pytest.mark.skipif(
    not SDK_2.exists(), reason=f"SDK 2.x (commit {COMMIT}) is not installed: GitHub is to be reached for that"
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def post(server, path, body, auth=LOGIN, **headers):
    return httpx2.post(f"{server.url}/{path}", json=body, auth=auth, headers=headers, timeout=60)


def stores_of(server):
    return Stores(open_database(load_settings(model_dir=server.folder)))


@pytest.fixture(scope="module", params=[SDK_1, pytest.param(SDK_2, marks=needs_sdk_2)], ids=["1.0.9", "2.x"])
def server(request, label_studio, tmp_path_factory, exported_backbones):
    assert request.param.exists(), "Run `make test`: it installs the SDK into an environment of its own."
    folder = tmp_path_factory.mktemp("sdk")
    (folder / "backbones").symlink_to(exported_backbones)
    settings = {"QUEUE_SIZE": 5, "RECONCILE_SECONDS": 5, **CREDENTIALS, "HOST": "0.0.0.0", "PORT": "1"}
    server = BackendServer(folder, label_studio.url, label_studio.account.token, **settings)
    # The address comes by switches, which win over the settings.
    switches = ["--host", "127.0.0.1", "--port", str(server.port)]
    server.command = [str(request.param), "-m", "clinical_backend._wsgi", *switches]
    with server:
        yield server


def test_it_predicts_and_runs_a_round(server, client, project):
    assert httpx2.get(f"{server.url}/health").json()["status"] == "UP"
    setup = json.loads((CAPTURES / "setup.json").read_text())["body"]
    assert post(server, "setup", setup).is_success
    body = json.loads((CAPTURES / "predict_50_tasks.json").read_text())["body"]
    assert len(post(server, "predict", body).json()["results"]) == 50
    (task, *_) = client.tasks(project.id)
    tag = {"from_name": "exemplar", "to_name": "image", "type": "choices", "value": {"choices": ["more like this"]}}
    event = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": project.id, "label_config": project.label_config},
        "annotation": {"id": 1, "task": task.id, "result": [tag]},
    }
    assert post(server, "webhook", event).is_success
    wait_until(lambda: client.project(project.id).model_version.startswith("clinical-1-"), "a round", 400)


def test_it_asks_for_the_password_and_refuses_others_hosts(server):
    assert httpx2.get(f"{server.url}/health").is_success
    for auth in (None, ("reader", "wrong"), ("", "")):
        answer = post(server, "setup", {"project": "1.1"}, auth=auth)
        assert (answer.status_code, "WWW-Authenticate" in answer.headers) == (401, True)
    other = httpx2.post(f"{server.url}/setup", json={"project": "1.1"}, headers={"Authorization": "Bearer x"})
    assert other.status_code == 401
    assert post(server, "setup", {"project": "1.1"}, Host="evil.example").status_code == 421


def test_its_files_are_for_nobody_else(server):
    made = [path for path in server.folder.iterdir() if path != server.log and not path.is_symlink()]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in made} == {0}


@pytest.mark.parametrize("python", [SDK_1, pytest.param(SDK_2, marks=needs_sdk_2)], ids=["1.0.9", "2.x"])
@pytest.mark.parametrize("wrong", ["no password", "no key"])
def test_what_is_missing_is_one_line_with_its_cure(tmp_path, python, wrong):
    hidden = ("BASIC_AUTH", "LABEL_STUDIO_API_KEY", "OPEN_ACCESS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {"MODEL_DIR": str(tmp_path)} | ({} if wrong == "no key" else {"LABEL_STUDIO_API_KEY": "k"})
    host = "127.0.0.1" if wrong == "no key" else "0.0.0.0"
    done = subprocess.run(
        [python, "-m", "clinical_backend._wsgi", "--host", host, "--port", str(free_port())],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert ("LABEL_STUDIO_API_KEY is not set" if wrong == "no key" else "OPEN_ACCESS=true") in done.stderr


@needs_sdk_2
@pytest.mark.parametrize("server", [SDK_2], indirect=True)
def test_a_project_connected_by_hand_is_taken_on_repaired_and_heeds_its_extra_params(server, client, make_project):
    project = make_project(12, sampling="Sequential sampling")
    auth = {"auth_method": "BASIC_AUTH", "basic_auth_user": LOGIN[0], "basic_auth_pass": LOGIN[1]}
    entry = client.add_backend(project.id, server.url, title="by hand", extra_params={"queue_size": 4}, **auth)
    wait_until(lambda: client.project(project.id).model_version.startswith("clinical-1-"), "a round", 400)
    stores = stores_of(server)

    def options():
        return stores.projects.get(project.id).options

    assert options() == {"queue_size": 4}
    wait_until(lambda: [hook.headers.keys() for hook in client.webhooks(project.id)] == [{"Authorization"}], "a repair")
    assert client.project(project.id).sampling == "Uncertainty sampling"
    client.update_backend(entry, extra_params='{"queue_size": 3}', **auth)
    wait_until(lambda: options() == {"queue_size": 3}, "extra parameters as text", 60)
    client.update_backend(entry, extra_params=None, **auth)
    wait_until(lambda: options() == {}, "no extra parameters", 60)
    assert connect(client, project.id, backend_url=server.url, basic_auth=LOGIN, title="by hand") == []
    task = SimulatedReader(client).next(project.id)
    assert task.id in {queued.task_id for queued in stores.rounds.queue(stores.rounds.published(project.id).id)}
    before = stores.rounds.latest(project.id).number
    client.train(entry.id)
    wait_until(lambda: stores.rounds.published(project.id).number > before, "Start Training", 400)
