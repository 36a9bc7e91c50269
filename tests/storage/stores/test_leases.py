"""Leases on both databases: who is silent loses the project, and can change nothing any more."""

import os
import signal
import time

import psutil
import pytest

from clinical_backend.errors import RoundAbandonedError
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores.leases import LeaseStore
from clinical_backend.storage.stores.stores import Stores
from tests.storage import processes


@pytest.fixture
def stores(database):
    made = Stores(database)
    made.projects.register(1)
    return made


@pytest.fixture
def frozen(url, stores):
    """Return a process that holds project 1 and is stopped."""
    process, pipe = processes.start(processes.hold_project, url)
    assert pipe.recv() == 1
    os.kill(process.pid, signal.SIGSTOP)
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:  # on a busy machine it takes a moment
        time.sleep(0.01)
    yield process
    process.kill()


def seem_silent(leases, seconds):
    """Have an observer see so long a silence, and return the projects that it took away."""
    leases.end_silent(seconds)
    for _ in range(100):  # on a busy machine the observer itself stands still now and then, and begins anew
        for watched in leases._watched.values():
            watched.seen_at -= 1.0
        ended = leases.end_silent(seconds)
        if ended:
            return ended
    return []


def test_one_holds_a_project_at_a_time(stores):
    token = stores.leases.take(1)
    assert token == 1
    assert stores.leases.take(1) is None
    assert stores.leases.take(2) == 1
    stores.leases.give_back(1, token)
    assert stores.leases.take(1) == 2


def test_a_project_of_a_process_that_died_is_free_at_once(url, stores):
    process, pipe = processes.start(processes.hold_project, url)
    assert pipe.recv() == 1
    assert stores.leases.take(1) is None
    process.kill()
    process.join()
    assert stores.leases.take(1) == 2


def test_signs_of_life_keep_a_project(stores):
    token = stores.leases.take(1)
    observer = LeaseStore(stores.database)
    for _ in range(8):
        assert stores.leases.renew(1, token, idle_seconds=0.0)
        observer.end_silent(3)
        for watched in observer._watched.values():
            watched.seen_at -= 1.0
    assert stores.leases.of(1).holder is not None


def test_a_stopped_process_loses_its_project_and_is_ended(frozen, stores):
    assert seem_silent(stores.leases, 3) == [1]
    frozen.join(60)
    assert frozen.exitcode == -signal.SIGKILL
    assert stores.leases.take(1) is not None


def test_an_observer_that_stood_still_itself_saw_no_silence(stores):
    stores.leases.take(1)
    stores.leases.end_silent(30)
    for watched in stores.leases._watched.values():
        watched.seen_at -= 3600.0
    assert stores.leases.end_silent(30) == []


def test_who_lost_a_project_can_write_nothing_and_takes_nothing_back(stores, url):
    token = stores.leases.take(1)
    with stores.leases.fence(1, token):
        stores.projects.change(1, title="mine")
        other = Stores(Database(url))
        assert seem_silent(other.leases, 3) == [1]
        later = other.leases.take(1)
        for write in (
            lambda: stores.projects.change(1, title="late"),
            lambda: stores.rounds.begin_rollback(1, 1),
            lambda: stores.images.failed(1, {1: "late"}) or stores.images.synchronise(1, {1: "late"}, complete=True),
            stores.database.require_fence,
        ):
            with pytest.raises(RoundAbandonedError):
                write()
        assert not stores.leases.renew(1, token, idle_seconds=0.0)
        stores.leases.give_back(1, token)
    assert stores.projects.get(1).title == "mine"
    assert other.leases.of(1).token == later
    assert other.leases.of(1).holder is not None
    other.database.close()


def test_a_lease_outlives_that_its_holder_begins_the_project_anew(stores):
    token = stores.leases.take(1)
    with stores.leases.fence(1, token):
        stores.projects.forget(1)
        stores.projects.register(1)
        stores.projects.change(1, title="anew")
    assert stores.projects.get(1).title == "anew"


def test_leases_of_projects_that_are_not_served_go_unless_they_are_held(stores):
    for number in (1, 2, 3):
        token = stores.leases.take(number)
        if number != 3:
            stores.leases.give_back(number, token)
    stores.leases.discard()
    assert [number for number in (1, 2, 3) if stores.leases.of(number) is not None] == [1, 3]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_process_that_is_stopped_within_a_transaction_holds_its_rows_for_a_bounded_time(url, stores):
    with stores.database.read() as session:
        bounds = [
            session.connection().exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("idle_in_transaction_session_timeout", "lock_timeout")
        ]
    assert bounds == ["30s", "30s"]
