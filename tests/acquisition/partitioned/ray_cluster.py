"""A real Ray cluster of two nodes on loopback, one CPU each."""

from __future__ import annotations

import gc
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from clinical_backend.system.telemetry import SWITCHES

MEMORY = 80 * 2**20  # of a node's object store, near the least that Ray takes
ATTEMPTS = 3
ROOT = Path(__file__).parents[3]


@contextmanager
def ray_cluster():
    """Return the address of a cluster's head; this process is no driver of it yet."""
    # pytest's own folders are too long for the name of a socket.
    folders = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
    with pytest.MonkeyPatch.context() as patch, folders as folder:
        for name in SWITCHES:
            if name.startswith("RAY_"):
                patch.setenv(name, SWITCHES[name])
        # Off, Ray listens on loopback alone; the name is of the systems on which it is off by default.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_worker_niceness", "0")  # of 15 they starve beside other tests
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("RAY_ADDRESS", raising=False)
        pytest.importorskip("ray")
        # Not as a node's argument: Ray notes the cluster's address in its default folder, which it does not make then.
        patch.setenv("RAY_TMPDIR", folder)
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - after the environment is set

        cluster = started(Cluster)
        try:
            yield cluster.address
        finally:
            cluster.shutdown()
            del cluster
            with warnings.catch_warnings():  # Ray does not wait for all that it ends
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()


def started(make):
    """Start a head and a second node; again if on a busy machine Ray's own limits of 15 and 30 seconds passed."""
    node = {"num_cpus": 1, "object_store_memory": MEMORY, "include_log_monitor": False}
    for left in reversed(range(ATTEMPTS)):
        cluster = make()
        try:
            cluster.add_node(**node, include_dashboard=False, no_monitor=True)
            cluster.add_node(**node)
        except Exception as error:  # Ray raises no narrower one
            cluster.shutdown()
            if not left or "timed out during startup" not in str(error):
                raise
        else:
            return cluster
    raise AssertionError
