"""Killed in mid-round, or without Label Studio for a while: the old queue stays and the round is redone."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from clinical_backend.demo.dataset import drawn_cells
from clinical_backend.demo.label_studio_server import LabelStudioServer
from clinical_backend.demo.run import create_demo_project
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.labelstudio.reader import Reader
from clinical_backend.storage.schema import RoundState
from tests.conftest import CACHE
from tests.end_to_end.conftest import Loop, wait_until


@pytest.fixture
def own_backend(label_studio, make_backend):
    with make_backend(label_studio.url, label_studio.account.token, QUEUE_SIZE=20, RECONCILE_SECONDS=5) as server:
        yield server


@pytest.mark.parametrize("stage", ["sync", "embed", "publish"])
def test_a_backend_killed_in_mid_round_redoes_it(client, own_backend, make_cells, stage):
    loop = Loop(client, own_backend, make_cells(40))
    loop.connect()
    # New images, so that the round has something to embed.
    loop.client.import_tasks(loop.id, [{"data": task.data} for task in client.tasks(make_cells(100).project.id)])
    loop.tag(2)
    wait_until(lambda: _at(loop, stage), f"a round in stage {stage}")
    worker = psutil.Process(own_backend.process_id).children()
    os.kill(own_backend.process_id, signal.SIGKILL)
    psutil.wait_procs(worker, timeout=10)
    assert not any(process.is_running() for process in worker)
    # The switch is one step: readers have an old queue whole, or the new one whole.
    version = client.project(loop.id).model_version
    (row,) = [row for row in loop.stores.rounds.history(loop.id) if row.version == version]
    queue = [queued.task_id for queued in loop.stores.rounds.queue(row.id)]
    assert client.model_versions(loop.id)[version] == len(queue)
    assert Reader(client).next(loop.id).id in queue
    own_backend.stop()
    own_backend.start()
    loop.wait_for_round(1, exemplars=2)
    assert client.project(loop.id).model_version == loop.status()["published_version"]
    assert RoundState.RUNNING not in {row.state for row in loop.stores.rounds.history(loop.id)}


def test_label_studio_away_for_a_while_is_told_and_the_loop_resumes(tmp_path, make_backend):
    server = LabelStudioServer(tmp_path / "label-studio", cache=CACHE)
    server.start()
    try:
        port = int(server.url.rpartition(":")[2])
        with (
            LabelStudioClient(server.url, server.account.token) as client,
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


def _at(loop: Loop, stage: str) -> bool:
    latest = loop.status()["round"]
    return latest["number"] > 1 and latest["state"] == "running" and latest["stage"] == stage
