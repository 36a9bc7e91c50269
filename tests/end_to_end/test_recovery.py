"""Killed in mid-round, or without Label Studio for a while: the old queue stays and the round is redone."""

from __future__ import annotations

import psutil
import pytest

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.run import create_demo_project
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.storage.schema import RoundState
from tests.conftest import CACHE
from tests.end_to_end.conftest import WAIT_SECONDS, Loop, wait_until
from tests.label_studio_proxy import LabelStudioProxy

REQUESTS = {
    "embed": r"GET /data/local-files/",
    "publish": r"POST /api/projects/\d+/import/predictions",
}
"""A request that a round makes in a stage, and nothing else does."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def proxy(label_studio):
    with LabelStudioProxy(label_studio.url) as made:
        yield made


@pytest.fixture(scope="module")
def own_backend(label_studio, make_backend, proxy):
    with make_backend(proxy.url, label_studio.account.token, QUEUE_SIZE=20) as server:
        yield server


@pytest.mark.parametrize("stage", ["embed", "publish"])
def test_a_backend_killed_in_mid_round_redoes_it(client, own_backend, make_cells, proxy, stage):
    loop = Loop(client, own_backend, make_cells(40))
    loop.connect()
    with proxy.fault(REQUESTS[stage], held=True) as fault:
        # New images, so that the round has something to embed.
        loop.client.import_tasks(loop.id, [{"data": task.data} for task in client.tasks(make_cells(30).project.id)])
        assert fault.met.wait(WAIT_SECONDS)
        killed = loop.stores.rounds.latest(loop.id)
        assert (killed.state, killed.stage) == (RoundState.RUNNING, stage)
        worker = psutil.Process(own_backend.process_id).children()
        own_backend.kill()
        _, alive = psutil.wait_procs(worker, timeout=WAIT_SECONDS)
        assert not alive
        assert_whole(loop)
    loop.tag(2)
    own_backend.start()
    loop.wait_for_round(1, exemplars=2)
    assert client.project(loop.id).model_version == loop.status()["published_version"]
    assert RoundState.RUNNING not in {row.state for row in loop.stores.rounds.history(loop.id)}


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (REQUESTS["publish"], {"status": 500, "reaches": True}),
        (r"PATCH /api/projects/\d+/$", {"status": 401}),
    ],
    ids=["500 to the import", "401 to the switch"],
)
def test_label_studio_failing_half_way_through_publishing_is_told_and_the_round_is_run_again(
    client, own_backend, make_cells, proxy, request_, what
):
    loop = Loop(client, own_backend, make_cells(30))
    loop.connect()
    with proxy.fault(request_, **what) as fault:
        loop.tag(2)
        wait_until(lambda: loop.stores.rounds.latest(loop.id, state=RoundState.FAILED), "a round that failed")
        assert fault.met.is_set()
        assert "Label Studio" in loop.status()["problem"]
        assert_whole(loop)
    loop.wait_for_round(1, exemplars=2)
    loop.settle()
    assert loop.status()["problem"] is None
    assert client.project(loop.id).model_version == loop.status()["published_version"]
    assert_whole(loop)


def test_a_queue_whose_switch_got_no_answer_is_published_since_readers_have_it(client, own_backend, make_cells, proxy):
    loop = Loop(client, own_backend, make_cells(30))
    loop.connect()
    before = loop.status()["published_version"]
    with proxy.fault(r"PATCH /api/projects/\d+/$", status=None, reaches=True) as fault:
        loop.tag(2)
        wait_until(lambda: loop.status()["published_version"] != before, "the round that was switched to", 120)
        assert fault.met.is_set()
        assert client.project(loop.id).model_version == loop.status()["published_version"]
        assert RoundState.FAILED not in {row.state for row in loop.stores.rounds.history(loop.id)}
        assert_whole(loop)
    loop.settle()
    assert_whole(loop)


def test_label_studio_away_for_a_while_is_told_and_the_loop_resumes(tmp_path, make_backend):
    server = LabelStudioServer(tmp_path / "label-studio", cache=CACHE)
    server.start()
    try:
        port = int(server.url.rpartition(":")[2])
        with (
            LabelStudioAdmin(server.url, server.account.token) as client,
            make_backend(server.url, server.account.token, QUEUE_SIZE=10, RECONCILE_SECONDS=2) as backend,
        ):
            loop = Loop(client, backend, create_demo_project(client, server, drawn_cells(30, 5, seed=1), "away"))
            loop.connect()
            server.stop()
            wait_until(lambda: "Label Studio" in str(loop.status()["problem"]), "the problem told")
            server = LabelStudioServer(tmp_path / "label-studio", cache=CACHE, port=port)
            server.start()
            loop.tag(2)
            loop.wait_for_round(1, exemplars=2)
            assert loop.status()["problem"] is None
    finally:
        server.stop()


def assert_whole(loop: Loop) -> None:
    """Make sure that readers are served from the queue of one round, whole."""
    version = loop.client.project(loop.id).model_version
    (row,) = [row for row in loop.stores.rounds.history(loop.id) if row.version == version]
    queue = [queued.task_id for queued in loop.stores.rounds.queue(row.id)]
    assert loop.client.model_versions(loop.id)[version] == len(queue)
    task = SimulatedReader(loop.client).next(loop.id)
    # What a reader has open stays first for them, whatever is published since.
    assert task.id in queue or task.queue == "Task lock"
