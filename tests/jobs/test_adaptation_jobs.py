import sys
from contextlib import contextmanager

import pytest

from clinical_backend.jobs import adaptation
from clinical_backend.jobs.adaptation import AdaptationJobs
from clinical_backend.rounds.workshop import Workshop
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from tests.jobs.test_local import wait_for


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """Return a workshop of one project, for which an adaptation is always due and done at once."""
    command = tmp_path / "python"
    command.write_text(f"#!/bin/sh\necho $5 >> {tmp_path}/adapted\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    monkeypatch.setattr(adaptation, "adaptation_is_due", lambda *_: True)
    database = Database.in_folder(tmp_path)
    made = Workshop(load_settings(model_dir=tmp_path, label_studio_api_key="k"), database)
    made.stores.projects.register(7)
    yield made
    database.close()


def test_an_adaptation_keeps_its_project_until_it_has_ended(workshop, tmp_path):
    claims = []

    @contextmanager
    def claim(project_id):
        claims.append(project_id)
        yield True
        claims.remove(project_id)

    jobs = AdaptationJobs(workshop, claim)
    jobs.attend()
    assert claims == [7]
    wait_for(lambda: jobs.attend() or not claims)
    assert (tmp_path / "adapted").read_text() == "7\n"


def test_an_adaptation_that_another_machine_is_at_is_left_to_it(workshop, tmp_path):
    @contextmanager
    def claim(_):
        yield False

    AdaptationJobs(workshop, claim).attend()
    assert not (tmp_path / "adapted").exists()
