"""What the tests have done in processes of their own, which start fast: their imports are made once for all."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal

import numpy as np

from clinical_backend.storage.database import Database
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.stores.leases import LeaseStore
from clinical_backend.storage.stores.projects import ProjectStore
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.storage.trail import Actor, TrailAction, acting

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])
barrier = _context.Barrier


def start(function, *arguments):
    """Start a process; return it and the end of a pipe that the function sends to."""
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=function, args=(*arguments, sender), daemon=True)
    process.start()
    sender.close()
    return process, receiver


def count(url, times, together, _sender):
    """Open a database with others at once, register project 1 and count updates."""
    together.wait(60)
    projects = ProjectStore(Database(url))
    projects.register(1)
    for _ in range(times):
        projects.count_annotations(1, 1)


def add_features(url, folder, dimension, batch, first, last, sender):
    """Add features whose values are all the image's number, in batches of every other number; send each when done."""
    store = FeatureStore(Database(url), folder, backbone="net", dimension=dimension)
    for number in range(first, last, 2) if last else itertools.count(first, 2):
        images = range(number * batch, (number + 1) * batch)
        rows = np.repeat(np.array(images, dtype=np.float32)[:, None], dimension, axis=1)
        store.add([str(image) for image in images], rows)
        sender.send(number)


def hold_project(url, sender):
    """Take project 1, say by which token, and do nothing more."""
    sender.send(LeaseStore(Database(url)).take(1))
    signal.pause()


def die_between_write_and_index(url, folder, _sender):
    """Add a feature, and die when it is on disk and not in the index."""
    store = FeatureStore(Database(url), folder, backbone="net", dimension=3)
    vars(os)["fsync"] = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    store.add(["a"], np.ones((1, 3), dtype=np.float32))


def do_things(url, name, times, together, _sender):
    """Open a database with others at once, and tag and untag a task, each of which the trail tells."""
    together.wait(60)
    stores = Stores(Database(url))
    with acting(Actor(name, "command")):
        for number in range(times):
            if number % 2:
                stores.page_tags.remove(1, [1])
            else:
                stores.trail.append(TrailAction.MODEL_EXPORTED, 1, number=number)
            stores.page_tags.set(1, [1], 1, by=name)


def look_at_once(url, together, _sender):
    """Look at a page of project 1 together with others."""
    trail = Stores(Database(url)).trail
    together.wait(60)
    trail.look(1, Actor("ada", "page"), "queue", "2026-01-01")
