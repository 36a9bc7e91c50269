"""Times that were stored while the clock was two days ahead, on both databases."""

import time

import pytest

from clinical_backend.storage.schema import ProjectLease, Round
from clinical_backend.storage.stores.projects import LONGEST_WAIT
from clinical_backend.storage.stores.standing import standings
from clinical_backend.storage.stores.statistics import statistics
from clinical_backend.storage.stores.stores import Stores

TWO_DAYS = 172_800.0


@pytest.fixture
def stores(database):
    made = Stores(database)
    made.projects.register(1)
    return made


def test_a_wait_is_never_longer_than_the_longest_one(stores):
    stores.projects.change(1, not_before=time.time() + LONGEST_WAIT - 60)
    assert stores.projects.due() == []
    assert stores.rounds.start(1) is None
    stores.projects.change(1, not_before=time.time() + TWO_DAYS)
    assert stores.projects.due() == [1]
    assert stores.rounds.start(1) is not None


def test_what_stands_still_is_never_counted_below_nothing(stores):
    stores.rounds.start(1)
    stores.projects.request_round(1, "test")
    ahead = time.time() + TWO_DAYS
    stores.leases.take(1)
    with stores.database.write() as session:
        session.query(Round).update({"started_at": ahead})
        session.query(ProjectLease).update({"sign_at": ahead, "progress_at": ahead})
    stores.projects.change(1, requested_at=ahead)
    standing = standings(stores.database)[1]
    assert (standing.running.silent, standing.running.idle, standing.due) == (0.0, 0.0, 0.0)
    (counted,) = statistics(stores.database)
    assert (counted.progress_seconds, counted.due_seconds) == (0.0, 0.0)
