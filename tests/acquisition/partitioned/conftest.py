"""The tests' Ray cluster."""

from __future__ import annotations

import pytest

from tests.acquisition.partitioned.ray_cluster import ray_cluster


@pytest.fixture(scope="session")
def cluster_address():
    """Return the address of a cluster's head; this process is no driver of it yet."""
    with ray_cluster() as address:
        yield address
