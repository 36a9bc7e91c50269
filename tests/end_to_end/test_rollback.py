"""Back to an earlier round, with a real Label Studio and the state in a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.learner.checkpoint import load_checkpoint
from tests.end_to_end.conftest import Loop


@pytest.fixture
def on_postgresql(label_studio, make_backend, postgresql):
    settings = {"QUEUE_SIZE": 20, "START_TRAINING_EACH_N_UPDATES": 5, "RECONCILE_SECONDS": 5}
    url = postgresql.new_database()
    with make_backend(label_studio.url, label_studio.account.token, DATABASE_URL=url, **settings) as server:
        yield server


@pytest.fixture
def loop(client, on_postgresql, make_cells):
    made = Loop(client, on_postgresql, make_cells(40))
    yield made
    made.stores.database.close()


def test_readers_get_an_earlier_queue_and_model_again(client, on_postgresql, loop):
    reader = SimulatedReader(client)
    loop.tag(2)
    common = next(task for task, name in loop.demo.truth.items() if name != loop.demo.rare)
    reader.annotate(common, {"diagnosis": [loop.demo.truth[common]]})
    loop.connect()
    loop.settle()
    first, queue = loop.status()["round"], loop.queue()
    for _ in range(5):
        task = reader.next(loop.id).id
        reader.annotate(task, {"diagnosis": [loop.demo.truth[task]]})
    loop.wait_for_round(first["number"], labels=8)
    loop.settle()
    later = loop.status()["published_version"]
    done = subprocess.run(
        [sys.executable, "-m", "clinical_backend", "rollback", str(loop.id), str(first["number"])],
        env=on_postgresql.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status = loop.status()
    because = f"rollback to round {first['number']}"
    assert because in done.stdout
    assert (status["round"]["state"], status["round"]["because"]) == ("published", because)
    version = client.project(loop.id).model_version
    checkpoints = on_postgresql.folder / "checkpoints" / str(loop.id)
    assert load_checkpoint(checkpoints / version)[1].round == first["number"]
    assert version == status["published_version"] != later
    answered = {task.id for task in client.annotated_tasks(loop.id)}
    assert loop.queue() == [task for task in queue if task not in answered]
    assert client.model_versions(loop.id)[version] == len(loop.queue())
    assert reader.next(loop.id).id == loop.queue()[0]
    assert not (on_postgresql.folder / "clinical.sqlite3").exists()
