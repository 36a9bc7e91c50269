"""What a round learns from where a network is adapted: one set of features, whichever is chosen."""

import numpy as np
import pytest

from clinical_backend.rounds import inputs as inputs_module
from clinical_backend.rounds.embed import embed_new
from clinical_backend.rounds.inputs import choose_inputs
from clinical_backend.rounds.sync import synchronise
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import adapt_to_reds, picture

TASKS = range(1, 13)


@pytest.fixture
def fake_client():
    return FakeLabelStudio({task: picture(20 * task) for task in TASKS})


@pytest.fixture
def adapted(workspace, fake_client):
    """Return what an adapted network makes of a project of which three tasks are labelled, one of them an exemplar."""
    for task, name in ((1, "dark"), (9, "red"), (10, "red")):
        fake_client.annotate(task, name, exemplar=task == 10)
    synchronise(workspace.project(1))
    embed_new(workspace.project(1), lambda *_: None)
    return adapt_to_reds(workspace)


@pytest.mark.usefixtures("adapted")
@pytest.mark.parametrize("chosen", [0, 1])
def test_it_has_the_features_that_are_chosen_of_all_tasks(workspace, monkeypatch, chosen):
    project = workspace.project(1)
    seen = []

    def choose(*both, seed):
        seen.extend(both)
        return both[chosen], "a reason"

    monkeypatch.setattr(inputs_module, "choose_representation", choose)
    found, reason = choose_inputs(project, synchronise(project))
    representation = project.representations()[chosen]
    assert (found.key, reason) == (representation.key, "a reason")
    for part, tasks in ((found.pool, set(TASKS) - {1, 9, 10}), (found.labelled, {1, 9, 10}), (found.query, {9, 10})):
        assert set(part.tasks.tolist()) == tasks
        expected = project.features_of(representation, part.tasks.tolist())
        assert np.array_equal(part.features, expected.features)
    frozen = project.features_of(project.representations()[0], seen[0].pool.tasks.tolist())
    assert np.allclose(seen[0].pool.features, frozen.features, atol=1e-6)  # what is judged of frozen ones


def test_frozen_features_go_on_where_an_image_has_no_adapted_one_yet(workspace, adapted, monkeypatch):
    project = workspace.project(1)
    positions = adapted.store.positions

    def without_one(digests):
        return {digest: at for digest, at in positions(digests).items() if at}

    choose_inputs(project, synchronise(project))
    monkeypatch.setattr(adapted.store, "positions", without_one)
    monkeypatch.setattr(adapted.thumbnails, "positions", lambda digests: {})
    found, reason = choose_inputs(project, synchronise(project))
    assert reason == "frozen: some images have no adapted feature yet"
    assert (found.key, len(found.pool)) == (project.frozen.key, 9)
