import logging

from clinical_backend.rounds.embed import embed_new, features_of
from tests.rounds.conftest import picture


def embed(workshop, progress=lambda done, total: None):
    return embed_new(workshop.stores, workshop.source, workshop.embedder, workshop.features, 1, progress)


def test_each_content_is_embedded_once_and_never_again(workshop):
    uris = {1: picture(10), 2: picture(200), 3: picture(10)}
    workshop.stores.images.synchronise(1, uris, complete=True)
    steps = []
    assert embed(workshop, lambda done, total: steps.append((done, total))) == 3
    assert steps == [(0, 3), (3, 3)]
    assert embed(workshop) == 0
    known = workshop.stores.images.all(1)
    assert known[1].digest == known[3].digest != known[2].digest
    found = features_of(workshop.stores, workshop.features, 1, [3, 2, 99])
    assert found.tasks.tolist() == [3, 2]
    assert found.features[0, 0] < found.features[1, 0]


def test_an_unreadable_image_is_noted_and_tried_again_only_after_a_wait(workshop, caplog):
    uris = {1: picture(10), 2: "data:image/png;base64,AAAA", 3: ""}
    workshop.stores.images.synchronise(1, uris, complete=True)
    with caplog.at_level(logging.WARNING):
        embed(workshop)
    known = workshop.stores.images.all(1)
    assert known[1].problem is None
    assert known[2].problem
    assert known[3].problem
    assert "task 2 is left out" in caplog.text
    assert embed(workshop) == 0
    assert features_of(workshop.stores, workshop.features, 1, [1, 2, 3]).tasks.tolist() == [1]


def test_a_moved_image_is_read_anew(workshop):
    workshop.stores.images.synchronise(1, {1: picture(10)}, complete=True)
    embed(workshop)
    workshop.stores.images.synchronise(1, {1: picture(90)}, complete=True)
    assert embed(workshop) == 1
