"""What the image does when it runs: as its user and others, on new and old volumes, until it is told to end."""

import io
import re
import signal
import sqlite3
import tarfile
import time
import tomllib
from contextlib import ExitStack

import pytest

from clinical_backend.lab.servers.server import free_port
from tests.image.conftest import COMPOSE
from tests.image.engines import ROOT

pytestmark = pytest.mark.timeout(3600)

SERVICES = COMPOSE["services"]
COMPLAINTS = re.compile(r"Traceback|Read-only file system|Permission denied|not writable|KeyError")
OWNER = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]


def wait_for(condition, seconds=900):
    """Wait until a condition holds that costs a process to look at."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(2)


def seconds(text):
    minutes = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text)
    return 60 * int(minutes[1] or 0) + int(minutes[2] or 0)


def health(part):
    return SERVICES["worker"]["healthcheck"]["test"][1:] if part == "worker" else ["clinical", "health", "server"]


@pytest.fixture
def run(engine, image, volume, settings):
    """Return a function that runs containers on one volume until the test is over."""
    with ExitStack() as stack:

        def start(*command, user=None, capabilities=(), **more):
            # Compiling takes the better part of a minute on each new volume; one test does it.
            environment = settings | {"PORT": str(free_port()), "NUMBA_DISABLE_JIT": "1"} | more
            return stack.enter_context(
                engine.container(
                    image, command, user=user, environment=environment, volume=volume, capabilities=capabilities
                )
            )

        yield start


@pytest.fixture
def as_root(run):
    """Return a function that runs a script as root in the image."""

    def do(script, capabilities=OWNER):
        container = run("sh", "-ec", script, user="0:0", capabilities=capabilities)
        assert container.wait(120) == 0, container.log
        return container.log

    return do


def give_volume(run, owner):
    """Do what the service ``volume`` of the compose file does."""
    service = SERVICES["volume"]
    words = [*service["entrypoint"], *(word.replace("$$", "$") for word in service["command"])]
    container = run(*words, user=service["user"], capabilities=service["cap_add"], OWNER=owner)
    assert container.wait(120) == 0, container.log


def wait_for_start(container, part):
    """Wait until a server or a worker says that it is ready, and see that it is well."""
    said = {"server": "Uvicorn running", "worker": "The worker is ready"}[part]
    wait_for(lambda: said in container.log or container.process.poll() is not None)
    assert container.process.poll() is None, container.log
    checked = container.run(*health(part))
    assert checked.returncode == 0, checked.stderr


def is_well(container, part):
    return container.run(*health(part)).returncode == 0


def check_service(run, user, **more):
    """Start server and worker, see that they are well, and end them as the compose file does."""
    server, worker = run(user=user), run("clinical", "worker", user=user, **more)
    wait_for_start(server, "server")
    wait_for_start(worker, "worker")
    for container, part in ((server, "backend"), (worker, "worker")):
        container.signal(signal.SIGTERM)
        container.wait(seconds(SERVICES[part]["stop_grace_period"]))
        assert not COMPLAINTS.search(container.log), container.log
    assert worker.process.returncode == 0


def test_the_tag_is_the_version_that_is_installed(run):
    told = run("python", "-c", "from importlib.metadata import version; print(version('clinical-backend'))")
    assert told.wait(120) == 0
    assert COMPOSE["x-image"]["image"].partition(":")[2] == told.log.strip()
    assert told.log.strip() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_on_a_new_volume_it_serves_its_user(run):
    check_service(run, None, NUMBA_DISABLE_JIT="0")


def test_on_a_new_volume_it_serves_any_user_of_its_group(run):
    check_service(run, "12345:0")


def test_a_user_of_another_group_is_told_how_to_get_the_volume_and_then_served(run):
    refused = run(user="12345:12345")
    assert refused.wait(120) == 1
    assert "/data belongs to another user (10001:0)" in refused.log
    assert "chown -R 12345:12345 /data" in refused.log
    assert "Traceback" not in refused.log
    give_volume(run, "12345:12345")
    check_service(run, "12345:12345")


def test_the_volume_of_the_release_before_is_taken_over(run, as_root):
    # Not empty: to an empty volume the image's own folder is copied again, with its owner and its rights.
    as_root("rm -rf /data/* && mkdir /data/previews && chown -R 10001:10001 /data && chmod -R 00700 /data")
    check_service(run, "10001:10001")
    check_service(run, None)
    refused = run(user="12345:0")
    assert refused.wait(120) == 1
    assert "chown -R 12345:0 /data" in refused.log
    give_volume(run, "12345:0")
    check_service(run, "12345:0")
    assert as_root("find /data ! -uid 12345").strip() == ""


def test_a_worker_that_is_stopped_is_not_well(run):
    worker = run("clinical", "worker")
    wait_for_start(worker, "worker")
    worker.signal(signal.SIGSTOP)  # the first process alone, which watches over the one that does the work
    assert worker.run("sh", "-c", "cd / && kill -s STOP -- -1").returncode == 0
    wait_for(lambda: not is_well(worker, "worker"))


def test_the_first_start_needs_no_torch_and_writes_nothing_outside_its_volume(run, as_root):
    script = (
        "import sys; from pathlib import Path; from clinical_backend.learner.backbones.loading import load_backbone;"
        "print(load_backbone(folder=Path('/data/backbones'), device='cpu').engine, 'torch' in sys.modules)"
    )
    loaded = run("python", "-c", script)
    assert loaded.wait(120) == 0, loaded.log
    assert loaded.log.strip() == "ONNX Runtime on cpu False"
    assert as_root("ls -A /data").strip() == ""


def test_secrets_are_read_from_files(run, as_root, settings):
    as_root("echo secret > /data/secret && chown 10001:0 /data/secret")
    del settings["BASIC_AUTH_PASS"], settings["LABEL_STUDIO_API_KEY"]
    files = {"BASIC_AUTH_PASS_FILE": "/data/secret", "LABEL_STUDIO_API_KEY_FILE": "/data/secret"}
    server = run(**files)
    wait_for_start(server, "server")


def test_a_backup_is_made_beside_a_server_that_runs(run, tmp_path):
    server = run()
    wait_for_start(server, "server")
    made = server.run("clinical", "backup")
    assert made.returncode == 0, made.stderr
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as tar:
        database = tar.extractfile("clinical.sqlite3").read()
    (tmp_path / "clinical.sqlite3").write_bytes(database)
    connection = sqlite3.connect(tmp_path / "clinical.sqlite3")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_without_a_password_it_does_not_serve_the_network(run, settings):
    del settings["BASIC_AUTH_PASS"], settings["BASIC_AUTH_USER"]
    refused = run()
    assert refused.wait(120) == 1
    assert "BASIC_AUTH_PASS" in refused.log
