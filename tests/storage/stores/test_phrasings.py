"""Words that stand for findings, as they are kept."""

import numpy as np
import pytest
from sqlalchemy import update

from clinical_backend.storage.schema import FindingWords

PLACES = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=np.float32)


@pytest.fixture
def store(workspace):
    stores = workspace.stores
    stores.phrasings.keep(1, "b", ["one", "two"], ["none"], by="ada")
    return stores.phrasings


def test_they_are_kept_by_finding_with_who_gave_them(store):
    store.keep(1, "a", ["x"], [], by="ben")
    first, second = store.all(1)
    assert (first.finding, first.texts, first.changed_by) == ("a", ("x",), "ben")
    assert (second.phrasings, second.contrasts, second.backbone) == (("one", "two"), ("none",), None)
    assert store.all(2) == []


def test_their_places_are_those_of_one_backbone(store):
    store.keep_places(1, store.all(1)[0], "net", PLACES)
    assert store.all(1)[0].backbone == "net"
    ((words, places),) = store.placed(1, "net")
    assert (words.texts, places.tolist()) == (("one", "two", "none"), PLACES.tolist())
    assert store.placed(1, "another") == []


def test_other_words_lose_the_places_of_those_before(store):
    before = store.all(1)[0]
    store.keep(1, "b", ["three"], ["none"], by="ada")
    store.keep_places(1, before, "net", PLACES)  # of a round that began before
    assert store.placed(1, "net") == []
    store.keep_places(1, store.all(1)[0], "net", PLACES[:2])
    store.keep(1, "b", ["four"], ["none"], by="ada")
    assert (store.placed(1, "net"), store.all(1)[0].backbone) == ([], None)


@pytest.mark.parametrize("damaged", [b"", b"x" * 23, np.full(6, np.nan, dtype="<f4").tobytes()])
def test_damaged_places_are_left_out(store, workspace, damaged):
    store.keep_places(1, store.all(1)[0], "net", PLACES)
    with workspace.stores.database.write() as session:
        session.execute(update(FindingWords).values(places=damaged))
    assert store.placed(1, "net") == []


def test_removed_ones_are_gone(store):
    assert store.remove(1, "b")
    assert not store.remove(1, "b")
    assert store.all(1) == []


def test_a_project_that_is_not_there_keeps_none(store):
    store.keep(9, "b", ["one"], [], by="ada")
    assert store.all(9) == []
