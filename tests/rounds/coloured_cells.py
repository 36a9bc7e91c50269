"""Project 1 of forty dark cells, three of which are red, and its rounds; tests import the fixtures that they use."""

import numpy as np
import pytest

from clinical_backend.origins import Draw
from clinical_backend.rounds.reconcile import reconcile
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture

RED = (4, 17, 30)


@pytest.fixture
def studio():
    return cells()


@pytest.fixture
def fake_client(studio):
    return studio


@pytest.fixture
def project(workspace):
    return workspace.project(1)


def cells(reds=(250, 250, 250)):
    """Return forty dark tasks, three of which have these reds."""
    shades = np.random.default_rng(0).permutation(40).tolist()
    red_of = dict(zip(RED, reds, strict=True))
    return FakeLabelStudio({task: picture(red_of.get(task, 5), 40 + 2 * shades[task - 1], 60) for task in range(1, 41)})


def dark_colours():
    """Yield dark colours, each of its own green and blue."""
    for shade in np.random.default_rng(0).permutation(10_000).tolist():
        yield 5, 40 + shade % 100, 40 + shade // 100


def run(project):
    """Run a round, and return the one that is published then."""
    project.stores.projects.request_round(project.id, "a test", delay=0)
    reconcile(project, look=True)
    return project.stores.rounds.published(project.id)


def sought(project, published):
    """Return what a round seeks, best first."""
    return [row for row in project.stores.rounds.queue(published.id) if row.draw is Draw.TARGET]


def red_lead(project, published):
    """Tell whether all red tasks that are sought come before all others that are; the audit may have drawn some."""
    tasks = [row.task_id for row in sought(project, published)]
    red = [task for task in tasks if task in RED]
    return len(red) > 0 and red == tasks[: len(red)]
