"""The application as a process serves it."""

import gc

import pytest

from clinical_backend.settings import load_settings
from clinical_backend.web.app import make_app_of_process


@pytest.fixture
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_no_collection_of_garbage_looks_through_what_a_server_has_loaded(tmp_path, thawed):
    made = make_app_of_process(load_settings(model_dir=tmp_path, label_studio_api_key="k"))
    assert all(one is not made.router for one in gc.get_objects())
