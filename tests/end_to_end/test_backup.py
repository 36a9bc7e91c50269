"""A real Label Studio: its data are copied while it runs and opened by another one; its check sees its database."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import httpx2
import pytest
import yaml

from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.storage.backup import write_backup
from tests.conftest import CACHE

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())

pytestmark = pytest.mark.timeout(1800)


def is_well(server):
    script = COMPOSE["services"]["label-studio"]["healthcheck"]["test"][-1].replace(
        "8080", server.url.rpartition(":")[2]
    )
    return subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_copy_made_while_label_studio_runs_is_opened_by_another(client, label_studio, make_project, tmp_path):
    project = make_project(3)
    upload = {"scan.png": ("scan.png", b"\x89PNG of a scan", "image/png")}
    sent = httpx2.post(
        f"{label_studio.url}/api/projects/{project.id}/import",
        files=upload,
        headers={"Authorization": f"Token {label_studio.account.token}"},
        timeout=60,
    )
    sent.raise_for_status()
    before = {task["id"]: task["data"] for task in tasks(label_studio, project.id)}
    SimulatedReader(client).annotate(min(before), {"diagnosis": ["rare"]})
    assert is_well(label_studio)

    archive = io.BytesIO()
    write_backup(label_studio.data, archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(tmp_path / "restored", filter="tar")

    with LabelStudioServer(tmp_path / "restored", cache=CACHE) as restored:
        found = tasks(restored, project.id)
        assert {task["id"]: task["data"] for task in found} == before
        assert [task["total_annotations"] for task in found if task["id"] == min(before)] == [1]
        (address,) = [data["image"] for data in before.values() if "upload" in data["image"]]
        with LabelStudioAdmin(restored.url, label_studio.account.token) as again:
            assert again.http.get(f"{restored.url}{address}").content == b"\x89PNG of a scan"
        assert is_well(restored)
        for path in restored.data.glob("label_studio.sqlite3*"):
            path.unlink()
        assert not is_well(restored)


def tasks(server, project_id):
    answer = httpx2.get(
        f"{server.url}/api/tasks/",
        params={"project": project_id, "fields": "all", "page_size": 100},
        headers={"Authorization": f"Token {server.account.token}"},
        timeout=60,
    )
    return answer.raise_for_status().json()["tasks"]
