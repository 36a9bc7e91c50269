"""A stopped worker and a dripping host, on the real thing without Redis: other projects and readers do not wait."""

from __future__ import annotations

import signal

import httpx2
import psutil
import pytest

from clinical_backend.storage.schema import RoundState
from tests.end_to_end.conftest import Loop, wait_until
from tests.images.servers import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SLOW_IMAGES = 400


@pytest.fixture(scope="module")
def dripping():
    """Return a server that sends a byte a second."""

    def drip(request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not request.server.stopping.wait(1.0):
            request.wfile.write(b"x")

    with serving(drip) as server:
        yield server


@pytest.fixture(scope="module")
def server(label_studio, make_backend):
    settings = {
        "QUEUE_SIZE": 10,
        "RECONCILE_SECONDS": 5,
        "WORKER_TIMEOUT_SECONDS": 8,
        "IMAGE_HOSTS": "127.0.0.1",
        "SLOW_HOST_SECONDS": 1,
    }
    with make_backend(label_studio.url, label_studio.account.token, **settings) as made:
        yield made


def worker_of(server):
    """Return the process that runs the server's rounds."""
    children = psutil.Process(server.process_id).children()
    return next((child for child in children if child.status() != psutil.STATUS_ZOMBIE), None)


def test_a_stopped_worker_and_a_dripping_host_hold_up_nobody(client, server, make_cells, dripping):
    slow, other = Loop(client, server, make_cells(12, 2)), Loop(client, server, make_cells(12, 2))
    tasks = [{"data": {"image": f"http://127.0.0.1:{dripping.port}/{place}.png"}} for place in range(SLOW_IMAGES)]
    client.import_tasks(slow.id, tasks)
    client.create_webhook(slow.id, f"{server.url}/webhook")
    body = {"project": f"{slow.id}.1", "schema": slow.demo.project.label_config}
    assert httpx2.post(f"{server.url}/setup", json=body, timeout=60).is_success
    wait_until(lambda: dripping.requests, "the round to read images of the dripping host")
    stopped = worker_of(server)
    stopped.send_signal(signal.SIGSTOP)
    # Label Studio's calls are answered meanwhile, and the server says what stands still.
    start = {"action": "START_TRAINING", "project": {"id": slow.id}}
    assert httpx2.post(f"{server.url}/webhook", json=start, timeout=60).status_code == 200
    wait_until(lambda: (worker_of(server) or stopped).pid != stopped.pid, "another worker")
    assert not stopped.is_running()
    other.connect()
    wait_until(lambda: slow.stores.rounds.published(slow.id), "the queue of what is read")
    states = [row.state for row in slow.stores.rounds.history(slow.id)]
    assert states[-1] is RoundState.ABANDONED
    report = slow.stores.rounds.published(slow.id).report
    assert report.counts.waiting > 300
    assert any("is slow: 0 of 400 images are read" in note for note in report.notes)
    assert len(slow.queue()) == 10
