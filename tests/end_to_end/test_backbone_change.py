"""BACKBONE is changed and the backend started again: the images are embedded beside the rounds, then labels decide."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.rounds.due import STILL_TO_READ
from tests.end_to_end.conftest import Loop, wait_until
from tests.tiny_network import TINY, save_tiny_weights

RARE, COMMON = 8, 16

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def tiny(tmp_path):
    weights = tmp_path / "tiny.safetensors"
    save_tiny_weights(weights)
    return f"timm:{TINY}?weights={weights}"


@pytest.fixture
def own_backend(label_studio, make_backend, tiny):
    settings = {"QUEUE_SIZE": 10, "RECONCILE_SECONDS": 5, "BACKBONE": tiny, "IMAGE_SIZE": 64, "ADAPTATION": "off"}
    with make_backend(label_studio.url, label_studio.account.token, **settings) as server:
        yield server


@pytest.fixture
def loop(client, own_backend, make_cells):
    made = Loop(client, own_backend, make_cells(60, RARE))
    yield made
    made.stores.database.close()


def restart(backend, **settings):
    backend.stop()
    backend.environment |= settings
    backend.start()


def network_of(loop, row):
    """Return the key of the features that a round's classifier takes."""
    folder = loop.backend.folder / "checkpoints" / str(loop.id) / row.version
    return load_checkpoint(folder)[1].backbone


def test_a_changed_backbone_serves_once_it_is_compared(client, loop, tiny):
    reader = SimulatedReader(client)
    loop.tag(RARE)
    for task in [task for task, name in loop.demo.truth.items() if name != loop.demo.rare][:COMMON]:
        reader.annotate(task, {"diagnosis": [loop.demo.truth[task]]})
    loop.connect()
    loop.settle()
    before = loop.stores.rounds.published(loop.id)
    assert TINY in network_of(loop, before)

    restart(loop.backend, BACKBONE="efficientnet_lite", IMAGE_SIZE="")
    wait_until(lambda: loop.stores.rounds.latest(loop.id).number > before.number, "a round after the change")
    loop.settle()
    rows = [row for row in loop.stores.rounds.history(loop.id) if row.number > before.number]
    assert {row.request for row in rows} <= {"the backbone was changed", STILL_TO_READ}
    after = loop.stores.rounds.published(loop.id)
    assert network_of(loop, after).startswith("efficientnet_lite-")
    assert after.report.counts.waiting == 0
    assert client.project(loop.id).model_version == after.version
    said = loop.status()["backbone"]
    assert said.startswith("efficientnet_lite serves: not worse beyond chance (average precision of ")
    assert f"{RARE + COMMON} labels, {RARE} of them rare" in said

    # Back again: its features are there, and a person may say so without asking the labels.
    restart(loop.backend, BACKBONE=tiny, IMAGE_SIZE="64")
    done = subprocess.run(
        [sys.executable, "-m", "clinical_backend", "replace-backbone", "--project", str(loop.id), "--force"],
        env=loop.backend.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wait_until(lambda: TINY in network_of(loop, loop.stores.rounds.published(loop.id)), "a round with the one before")
