"""Connecting by command and by hand, with either token and with basic authentication."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import httpx2
import pytest

from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.checks import Status, Wanted
from clinical_backend.labelstudio.connection.doctor import diagnose
from clinical_backend.labelstudio.connection.installation import HEADER
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from tests.end_to_end.conftest import Loop, wait_until


def clinical(backend: BackendServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clinical_backend", *arguments],
        env=backend.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def wiring(loop: Loop) -> dict[str, object]:
    project = loop.client.project(loop.id)
    hooks = [hook for hook in loop.client.webhooks(loop.id) if hook.url.startswith(loop.backend.url)]
    return {
        "sampling": project.sampling,
        "served": project.model_version == loop.status().get("published_version") != None,  # noqa: E711
        "webhooks": [(hook.url, sorted(hook.headers), hook.is_active) for hook in hooks],
        "entries": [entry.url.rstrip("/") for entry in loop.client.backends(loop.id)],
        "tabs": [view.title for view in loop.client.views(loop.id)],
    }


def connected(loop: Loop) -> dict[str, object]:
    return {
        "sampling": "Uncertainty sampling",
        "served": True,
        "webhooks": [(f"{loop.backend.url}/webhook", ["Authorization", HEADER], True)],
        "entries": [loop.backend.url],
        "tabs": wiring(loop)["tabs"],
    }


def test_the_command_connects_and_the_doctor_finds_nothing_wrong(loop):
    connecting = clinical(loop.backend, "connect", "--project", str(loop.id))
    assert connecting.returncode == 0, connecting.stderr
    loop.wait_for_round(0)
    assert wiring(loop) == connected(loop)
    again = clinical(loop.backend, "connect", "--project", str(loop.id))
    assert "nothing was to be changed" in again.stdout, again.stdout
    doctor = clinical(loop.backend, "doctor", "--project", str(loop.id))
    assert doctor.returncode == 0, doctor.stdout
    assert "✗" not in doctor.stdout


def test_connecting_by_hand_ends_in_the_same_state(loop):
    user, password = loop.backend.credentials
    form = {"project": loop.id, "url": loop.backend.url, "title": "by hand", "is_interactive": False}
    auth = {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
    loop.client.session.request("POST", "api/ml/", json=form | auth)
    wait_until(loop.status, "the project taken on", seconds=30)
    loop.wait_for_round(0)
    wait_until(lambda: wiring(loop) == connected(loop), "the wiring repaired", seconds=30)
    assert len(connected(loop)["tabs"]) >= 1


def test_a_stranger_who_plays_label_studio_changes_nothing_in_a_project(loop):
    before = loop.client.project(loop.id)
    call = {"project": f"{loop.id}.1", "extra_params": {"queue_size": 1}}
    url, auth = f"{loop.backend.url}/setup", loop.backend.credentials
    for host in ("evil.example", "evil.example:80"):
        assert httpx2.post(url, json=call, auth=auth, headers={"Host": host}).status_code == 421
    forwarded = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    assert httpx2.post(url, json=call, auth=auth, headers=forwarded).is_success
    assert httpx2.post(url, json={"project": "987654.1"}, auth=auth).is_success
    wait_until(lambda: "BACKEND_URL" in str(loop.status().get("problem")), "the missing entry told")
    assert loop.client.webhooks(loop.id) == []
    assert loop.client.project(loop.id).sampling == before.sampling
    assert loop.stores.projects.get(loop.id).options == {}
    assert loop.stores.projects.get(987654) is None
    deleted = {"action": "PROJECT_DELETED", "project": {"id": loop.id}}
    assert httpx2.post(f"{loop.backend.url}/webhook", json=deleted, auth=auth).is_success
    loop.connect()
    wait_until(lambda: wiring(loop) == connected(loop), "the project wired")
    wait_until(lambda: loop.status()["problem"] is None, "the entry seen")


def test_the_exemplar_control_is_added_when_asked(loop):
    config = loop.client.project(loop.id).label_config
    without = re.sub(r'<Header.*?<Choices name="exemplar".*?</Choices>', "", config, flags=re.DOTALL)
    loop.client.update_project(loop.id, label_config=without)
    assert read_scheme(loop.client.project(loop.id).label_config).exemplar_control is None
    done = clinical(loop.backend, "connect", "--project", str(loop.id), "--exemplar-control")
    assert done.returncode == 0, done.stderr
    assert read_scheme(loop.client.project(loop.id).label_config).exemplar_control == "exemplar"


def test_callers_without_the_password_are_refused(loop):
    for path in ("setup", "predict", "webhook"):
        answer = httpx2.post(f"{loop.backend.url}/{path}", json={}, auth=("reader", "wrong"))
        assert answer.status_code == 401
    assert httpx2.get(f"{loop.backend.url}/health").json()["status"] == "UP"


@pytest.mark.slow
def test_the_loop_works_with_a_personal_access_token(
    label_studio, client, personal_access_token, make_cells, make_backend
):
    with make_backend(label_studio.url, personal_access_token, QUEUE_SIZE=20) as backend:
        loop = Loop(client, backend, make_cells(40))
        loop.connect()
        loop.tag(2)
        loop.wait_for_round(1, exemplars=2)
        assert SimulatedReader(client).next(loop.id).id in loop.queue()


def test_a_wrong_token_is_named_with_its_cure(label_studio, loop, tmp_path):
    wrong = BackendServer(tmp_path, label_studio.url, "0" * 40)
    answer = clinical(wrong, "doctor", "--project", str(loop.id))
    assert answer.returncode == 1
    assert "token" in answer.stdout.lower()
    assert "0" * 40 not in answer.stdout + answer.stderr
    no_key = {name: value for name, value in os.environ.items() if name != "LABEL_STUDIO_API_KEY"}
    refused = subprocess.run(
        [sys.executable, "-m", "clinical_backend", "serve"],
        env=no_key | {"MODEL_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert "LABEL_STUDIO_API_KEY" in refused.stderr


def test_a_missing_image_is_left_out_with_its_reason(loop):
    loop.client.import_tasks(loop.id, [{"data": {"image": "/data/local-files/?d=nowhere/none.png"}}])
    loop.connect()
    assert loop.status()["round"]["counts"]["unreadable"] == 1
    (problem,) = [image.problem for image in loop.stores.images.all(loop.id).values() if image.problem]
    assert problem
    findings = diagnose(loop.client, loop.id, Wanted(loop.backend.url, loop.backend.credentials))
    assert all(finding.status is not Status.ERROR for finding in findings)


def test_an_unsupported_config_is_refused_with_a_cure_and_heals(loop):
    config = loop.client.project(loop.id).label_config
    text = '<View><Text name="t" value="$image"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
    loop.client.update_project(loop.id, label_config=text)
    loop.client.add_backend(loop.id, loop.backend.url, **_basic(loop))
    wait_until(lambda: "config" in str(loop.status().get("problem")).lower(), "the problem told")
    loop.client.update_project(loop.id, label_config=config)
    loop.wait_for_round(0)
    assert loop.status()["problem"] is None


def _basic(loop: Loop) -> dict[str, str]:
    user, password = loop.backend.credentials
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
