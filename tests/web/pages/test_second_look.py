"""The page of doubtful labels, beside what tests/web/pages/test_routes.py presses on it."""

import pytest

from clinical_backend.errors import StorageError
from clinical_backend.storage.stores.second_readings import SecondReadingStore
from tests.web.pages.test_routes import assert_sound, configuration, filled, rich, stores, wakes, web, workspace

__all__ = ["configuration", "filled", "rich", "stores", "wakes", "web", "workspace"]  # fixtures


@pytest.fixture
def broken(monkeypatch):
    """What readers answered twice cannot be read."""

    def refuse(*_):
        raise StorageError("The database is locked.", "Wait.")

    for name in ("patterns", "read_twice"):
        monkeypatch.setattr(SecondReadingStore, name, refuse)


def test_doubtful_labels_are_shown_before_it_is_counted_how_far_readers_agree(web, rich, broken):
    text = web.get("/projects/1/second-look").text
    assert_sound(text)
    assert text.index('name="task" value="2"') < text.index("The database is locked.")
    assert "How far readers agree" not in text
