"""Nothing leaves the house: whom all processes call while they work, and what they write below the home folder."""

from __future__ import annotations

import ast
import ipaddress
import os
import subprocess
import sys
from contextlib import ExitStack

import httpx2
import pytest

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.run import create_demo_project
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.learner.adaptation.training import MINIMUM_IMAGES
from clinical_backend.system.telemetry import SWITCHES
from tests.acquisition.partitioned.ray_cluster import ray_cluster
from tests.conftest import CACHE
from tests.end_to_end.conftest import Loop
from tests.end_to_end.recorder import Recorder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HEAD = "/ray/dashboard/dashboard.py"
CLOUD = {"169.254.169.254", "metadata.google.internal"}
LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "-"}


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    return Recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def surroundings(recorder, home):
    """Record what is started from here, with an empty home folder and none of the variables that keep libraries in."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("XDG_", "ORT_", "HF_", "RAY_"))]:
            patch.delenv(name)
        patch.delenv("DO_NOT_TRACK", raising=False)
        patch.setenv("HOME", str(home))
        for name, value in recorder.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def worked(surroundings, make_backend, tmp_path_factory):
    """Have a real Label Studio, a server, its worker, a Ray cluster and a training work."""
    with ExitStack() as running:
        server = running.enter_context(LabelStudioServer(tmp_path_factory.mktemp("recorded"), cache=CACHE))
        client = running.enter_context(LabelStudioAdmin(server.url, server.account.token))
        cluster = running.enter_context(ray_cluster())
        patch = running.enter_context(pytest.MonkeyPatch.context())
        for name in SWITCHES:  # those of the cluster would hide what the backend's own processes do
            patch.delenv(name, raising=False)
        settings = {"QUEUE_SIZE": 10, "RAY_ADDRESS": cluster, "RAY_MIN_IMAGES": 20, "ADAPTATION_SECONDS": 5}
        backend = running.enter_context(make_backend(server.url, server.account.token, **settings))
        loop = Loop(
            client, backend, create_demo_project(client, server, drawn_cells(MINIMUM_IMAGES, 20, seed=1), "cells")
        )
        running.callback(loop.stores.database.close)
        loop.connect()
        reader = SimulatedReader(client)
        for task, name in list(loop.demo.truth.items())[:10]:
            reader.annotate(task, {"diagnosis": [name]})
        loop.wait_for_round(1, labels=10)
        unknown = {"id": 10**6, "data": {"image": "/data/upload/unknown.png"}}
        body = {"tasks": [unknown], "project": f"{loop.id}.1"}
        httpx2.post(f"{backend.url}/predict", json=body, timeout=60).raise_for_status()
        httpx2.get(f"{backend.url}/projects/{loop.id}", headers={"Accept": "text/html"}).raise_for_status()
        train = [sys.executable, "-m", "clinical_backend", "adapt", "--project", str(loop.id)]
        subprocess.run(train, env=backend.environment, check=True)
        loop.settle()
        yield loop


def is_local(whom):
    try:
        return whom in LOCAL or ipaddress.ip_address(whom.removeprefix("::ffff:")).is_loopback
    except ValueError:
        return False


def test_only_hosts_that_were_asked_for_are_called(worked, recorder):
    calls = recorder.calls()
    strangers = [call for call in calls if not is_local(call.whom)]
    # Ray's head is another's to start; docs/scale.md says whom it asks with all its own switches off.
    assert [call for call in strangers if HEAD not in call.command or call.whom not in CLOUD] == []
    for process in ("label-studio", " worker", "ray::", "raylet"):  # the server answers, and calls nobody
        assert any(process in call.command for call in calls), process


def test_nothing_is_written_below_the_home_folder(worked, home):
    assert sorted(path.relative_to(home) for path in home.rglob("*")) == []


@pytest.mark.parametrize(
    "door", ["cli", "plugin", "images.decoders.child", "jobs.local_worker", "learner.backbones.exported"]
)
def test_libraries_are_kept_in_whichever_door_a_process_comes_in_by(surroundings, door):
    script = f"import os, clinical_backend.{door}; print({{name: os.environ.get(name) for name in {list(SWITCHES)}}})"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ast.literal_eval(ran.stdout) == SWITCHES
