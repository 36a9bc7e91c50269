"""Bytes flipped on disk after a real round: what is read afterwards is what was, or it is told and made anew."""

import logging
import random

import numpy as np
import pytest

from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service.predict import predict
from clinical_backend.strategy.tasks import FeaturedTasks
from clinical_backend.workspace import workspace as workspace_module
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture

RED = range(1, 13)


@pytest.fixture
def fake_client():
    return FakeLabelStudio({n: picture(180 + n if n in RED else n, blue=n) for n in range(1, 61)})


@pytest.fixture
def studio(workspace, fake_client):
    workspace.settings = workspace.settings.model_copy(
        update={"queue_size": 20, "rare_classes": ("red",), "backend_url": "http://backend"}
    )
    for task in [*range(1, 8), *range(41, 56)]:
        fake_client.annotate(task, "red" if task in RED else "dark")
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=False)
    assert workspace.stores.projects.get(1).problem is None
    return fake_client


def seen(workspace, studio):
    """Return features of all tasks, their thumbnails, and what is predicted of them."""
    workspace_module._load.cache_clear()  # as in another process
    project = workspace.project(1)
    found = project.features_of(project.representations()[0], studio.uris)
    digests = project.digests(studio.uris)
    positions = workspace.thumbnails.positions(digests.values())
    known = [task for task, digest in digests.items() if digest in positions]
    small = FeaturedTasks(np.array(known), workspace.thumbnails.read([positions[digests[task]] for task in known]))
    tasks = [PredictTask(id=n, data={"image": uri}, predictions=[{}]) for n, uri in studio.uris.items()]
    predicted = [each.result for each in predict(workspace.project(1), studio.config, tasks)]
    return found, small, predicted


def same(left, right):
    return all(
        np.array_equal(a.tasks, b.tasks) and np.array_equal(a.features, b.features)
        for a, b in zip(left, right, strict=True)
    )


def kept_files(workspace):
    folder = workspace.settings.model_dir
    every = sorted(path for name in ("features", "checkpoints") for path in (folder / name).rglob("*"))
    return [path for path in every if path.is_file() and path.stat().st_size]


def damage(path, draw):
    """Flip bits, cut off, or empty a file; return what was done."""
    content = bytearray(path.read_bytes())
    kind = draw.choice(["bit", "bit", "byte", "zeros", "cut", "gone"])
    at = draw.randrange(len(content))
    if kind == "bit":
        content[at] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        content[at] ^= 0xFF
    elif kind == "zeros":
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    elif kind == "cut":
        del content[at:]
    path.unlink()
    if kind != "gone":
        path.write_bytes(content)
    return f"{kind} at {at} of {path}"


@pytest.mark.parametrize("seed", range(4))
def test_damage_in_any_file_is_never_silent_and_is_made_good_by_the_next_look(workspace, studio, caplog, seed):
    draw = random.Random(seed)
    found, small, predicted = seen(workspace, studio)
    assert len(found) == len(small) == len(studio.uris)
    for number in range(len(kept_files(workspace))):
        done = damage(kept_files(workspace)[number], draw)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            after, after_small, predicted_after = seen(workspace, studio)
        # What can still be read is what it was; a class is the one that it was, or there is none.
        for before, now in ((found, after), (small, after_small)):
            place = {task: row for row, task in enumerate(before.tasks.tolist())}
            assert np.array_equal(now.features, before.features[[place[task] for task in now.tasks.tolist()]]), done
        assert all(now in ([], before) for before, now in zip(predicted, predicted_after, strict=True)), done
        untouched = same((found, small), (after, after_small)) and predicted == predicted_after
        assert untouched or caplog.text or "gone" in done or "cut" in done, done
        reconcile(workspace.project(1), look=True)
        workspace.stores.projects.request_round(1, "test", delay=0)
        reconcile(workspace.project(1), look=True)
        assert workspace.stores.projects.get(1).problem is None, done
        whole = seen(workspace, studio)
        assert same((found, small), whole[:2]), done
        assert all(whole[2]), done


def test_a_damaged_model_of_the_published_queue_makes_a_round_due(workspace, studio):
    version = workspace.stores.projects.get(1).published_version
    (file,) = workspace.project(1).checkpoint_folder(version).glob("*.safetensors")
    damage(file, random.Random(1))
    reconcile(workspace.project(1), look=True)
    row = workspace.stores.rounds.published(1)
    assert row.request == "the model of the published queue was lost or changed on disk"
    assert all(seen(workspace, studio)[2])
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.rounds.published(1).id == row.id
