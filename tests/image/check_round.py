"""A round in the image: server and worker as the compose file starts them, before a real Label Studio."""

import signal

import httpx2
import pytest

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.run import create_demo_project
from clinical_backend.lab.servers.server import free_port
from clinical_backend.labelstudio.connection.connect import connect
from tests.image.check_image import COMPLAINTS, SERVICES, health, seconds, wait_for, wait_for_start

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def settings(label_studio, redis_server):
    redis_server.client.flushdb()
    port = free_port()
    return {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.account.token,
        "BACKEND_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "BASIC_AUTH_USER": "label-studio",
        "BASIC_AUTH_PASS": "p",
        "REDIS_URL": redis_server.url,
        "QUEUE_SIZE": "20",
        "NUMBA_DISABLE_JIT": "1",  # compiling is checked in check_image.py
    }


def test_a_worker_that_is_told_to_end_finishes_its_round_within_its_time(
    engine, image, volume, settings, client, label_studio
):
    project = create_demo_project(client, label_studio, drawn_cells(60, 8, seed=0), "image").project.id
    password = settings["BASIC_AUTH_USER"], settings["BASIC_AUTH_PASS"]

    def state():
        answer = httpx2.get(f"{settings['BACKEND_URL']}/projects/{project}", auth=password, timeout=60)
        return (answer.json().get("round") or {}) if answer.is_success else {}

    with (
        engine.container(image, environment=settings, volume=volume) as server,
        engine.container(image, ["clinical", "worker"], environment=settings, volume=volume) as worker,
    ):
        wait_for_start(server, "server")
        wait_for_start(worker, "worker")
        connect(client, project, backend_url=settings["BACKEND_URL"], basic_auth=password)
        wait_for(lambda: state().get("state") == "running")
        assert worker.run(*health("worker")).returncode == 0
        worker.signal(signal.SIGTERM)
        assert worker.wait(seconds(SERVICES["worker"]["stop_grace_period"])) == 0, worker.log
        assert (state()["number"], state()["state"]) == (1, "published")
        assert not COMPLAINTS.search(worker.log + server.log), worker.log + server.log
