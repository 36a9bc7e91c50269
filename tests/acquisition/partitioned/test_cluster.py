"""Selection and embedding on a real Ray cluster of two nodes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import httpx2
import numpy as np
import pytest

from clinical_backend.acquisition import Embedding, select
from clinical_backend.acquisition.partitioned import Rows, on_ray, select_partitioned
from clinical_backend.errors import ClusterError, InvalidArgumentError
from clinical_backend.images.decoders.decoding import count_images, decode
from clinical_backend.images.patience import Patience
from clinical_backend.images.sources import ImageSource
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.rounds import embed
from clinical_backend.rounds.embed import BatchEmbedder, embed_new
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.system.cluster import on_node
from clinical_backend.system.cluster_workers import map_on_cluster
from clinical_backend.workspace.workspace import Workspace
from tests.acquisition.oracle import embeddings
from tests.small_workspace import MeanColours, picture

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Noted:
    """A part of a pool whose reader dies as often as it is told to."""

    rows: Rows
    folder: Path
    deaths: int = 0

    def __call__(self):
        die(self.folder / "deaths", self.deaths)
        return self.rows()


def die(note, times):
    """End this process at once, so many times in all."""
    died = note.stat().st_size if note.exists() else 0
    if died < times:
        with note.open("a") as file:
            file.write(".")
        os._exit(1)


def batch_embedder(folder, _):
    die(folder / "deaths", 1)
    return BatchEmbedder(
        ImageSource("http://127.0.0.1:9", httpx2.Client()),
        Embedder(MeanColours(folder), decode),
        count_images,
        small=True,
        patience=Patience(),
    )


def failing(error):
    def work(_):
        raise error

    return work


def on_cluster(workspace, address, least=2):
    workspace.settings = workspace.settings.model_copy(update={"ray_address": address, "ray_min_images": least})


@pytest.fixture
def workspace(tmp_path):
    database = Database.in_folder(tmp_path)
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k")
    made = Workspace(settings, database, backbone=MeanColours(tmp_path))
    made.stores.projects.register(1)
    yield made
    database.close()


def test_parts_on_two_nodes_are_picked_as_select_picks_the_whole_though_a_shard_dies(
    cluster_address, tmp_path, monkeypatch
):
    places = []
    # Where Ray puts a part in the end is its own choice: on a busy machine a node's worker may start too late.
    monkeypatch.setattr(on_ray, "on_node", lambda node: places.append(node["NodeID"]) or on_node(node))
    pool, query, _ = embeddings("clustered", (4000, 6, 1), 16, seed=5)
    path = tmp_path / "features.rows"
    pool.features.tofile(path)
    parts = [Rows(path, 16, start, stop) for start, stop in pairwise([0, 1700, 4000])]
    noted = [Noted(part, tmp_path, deaths=place) for place, part in enumerate(parts)]
    for name in ("gcmi", "com"):  # each of the two ways that shards are asked
        found = select_partitioned(name, noted, query, 40, address=cluster_address)
        whole = select(name, pool, query, 40)
        np.testing.assert_array_equal(found.selection.indices, whole.indices)
        np.testing.assert_allclose(found.selection.gains, whole.gains, rtol=2e-6)
    assert places == [*dict.fromkeys(places)] * 2
    assert len(set(places)) == 2
    assert (tmp_path / "deaths").stat().st_size == 1


def test_new_images_are_embedded_on_the_cluster_though_a_worker_dies(cluster_address, workspace, tmp_path):
    uris = {task: picture(task % 250, task // 250) for task in range(1, 301)} | {301: "data:image/png;base64,AAAA"}
    workspace.stores.images.synchronise(1, uris, complete=True)
    steps = []
    on_cluster(workspace, cluster_address)
    project = workspace.project(1)
    tried = embed_new(project, lambda *step: steps.append(step), partial(batch_embedder, tmp_path))
    assert tried == 301
    assert (steps[0], steps[-1], len(steps)) == ((0, 301), (301, 301), 4)
    assert (tmp_path / "deaths").stat().st_size == 1
    found = project.features_of(project.representations()[0], range(1, 301))
    red = (found.features[:, 0] / found.features[:, 3]) ** 2
    assert np.allclose(red * 255, [task % 250 for task in found.tasks], atol=0.5)
    known = workspace.stores.images.all(1)
    assert known[301].problem
    assert len(workspace.thumbnails.positions(image.digest for image in known.values() if image.digest)) == 300
    assert workspace.backbone.embedded == 0


def test_errors_of_a_node_arrive_with_their_cure(cluster_address, tmp_path):
    with pytest.raises(InvalidArgumentError, match="rows 0 to 9"):
        select_partitioned(
            "com", [Rows(tmp_path / "none", 4, 0, 9)], Embedding(np.ones((1, 4))), 3, address=cluster_address
        )
    broken = map_on_cluster(cluster_address, partial(failing, ZeroDivisionError("a patient's name")), [1])
    with pytest.raises(ClusterError, match="ZeroDivisionError") as raised:
        list(broken)
    assert "patient" not in str(raised.value)


def test_few_new_images_need_no_cluster(workspace):
    workspace.stores.images.synchronise(1, {1: picture(10)}, complete=True)
    on_cluster(workspace, "127.0.0.1:1")
    assert embed_new(workspace.project(1), lambda *_: None) == 1


def test_a_cluster_that_does_not_answer_is_said_with_its_cure(workspace):
    pytest.importorskip("ray")
    with pytest.raises(ClusterError, match=r"joined at 127\.0\.0\.1:1.*ray start"):
        list(map_on_cluster("127.0.0.1:1", list, [1]))


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"clinical-backend\[ray\]"):
        list(map_on_cluster(None, list, [1]))


def test_the_settings_name_the_cluster(workspace, monkeypatch):
    asked = []
    monkeypatch.setattr(embed, "map_on_cluster", lambda address, *_: asked.append(address) or (each for each in ()))
    workspace.stores.images.synchronise(1, {task: picture(task) for task in range(1, 7)}, complete=True)
    embed_new(workspace.project(1), lambda *_: None)
    on_cluster(workspace, "head:6379", 7)
    workspace.stores.images.synchronise(1, {task: picture(task) for task in range(101, 107)}, complete=True)
    embed_new(workspace.project(1), lambda *_: None)
    assert asked == []
    workspace.stores.images.synchronise(1, {task: picture(task) for task in range(201, 208)}, complete=True)
    embed_new(workspace.project(1), lambda *_: None)
    assert asked == ["head:6379"]
