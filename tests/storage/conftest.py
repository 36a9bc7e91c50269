"""The same tests over both databases."""

import pytest

from clinical_backend.storage.database import Database
from clinical_backend.storage.stores.stores import Stores


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Return the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'clinical.sqlite3'}"
    return request.getfixturevalue("postgresql").new_database()


@pytest.fixture
def database(url):
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def stores(database):
    return Stores(database)
