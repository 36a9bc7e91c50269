import time

import anyio
import pytest

from clinical_backend.labelstudio.connection.checks import Status
from clinical_backend.service.connection import Checks
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    database = Database.in_folder(tmp_path)
    made = Workspace(
        load_settings(model_dir=tmp_path, label_studio_url="http://127.0.0.1:9", label_studio_api_key="k"), database
    )
    made.stores.projects.register(1)
    yield made
    database.close()


def test_a_page_tells_of_the_backends_own_state_though_label_studio_is_away(workspace):
    workspace.stores.projects.register(2)
    for project in (1, 2):
        workspace.stores.projects.change(project, requested_at=time.time() - 300)
    found = anyio.run(Checks(workspace).run, 1)
    told = {finding.check: finding for finding in found}
    assert told["database"].status is Status.OK
    assert [one.message for one in found if one.check == "rounds"] == [
        "Project 1: a round has been due for 5 minutes, and nobody runs it."
    ]
    assert told["label studio"].status is Status.ERROR
