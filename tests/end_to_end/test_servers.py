"""Three servers and two workers over one database: they always agree, and no project meets what is another's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle

import httpx2
import pytest
from PIL import Image

from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.workers import Workers
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.versions import on_demand_version
from tests.conftest import label_config
from tests.end_to_end.conftest import wait_until

PROJECTS = 20
TASKS = 6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Servers:
    """What the servers say, each asked by itself."""

    def __init__(self, servers, workers, stores):
        self.all = servers
        self.workers = workers
        self.stores = stores
        self._turns = cycle(servers)

    def setup(self, server, project):
        body = {"project": f"{project.id}.1", "schema": project.label_config, "extra_params": {"queue_size": TASKS}}
        return post(server, "setup", body)["model_version"]

    def predict(self, server, project, tasks):
        sent = [{"id": task.id, "data": task.data} for task in tasks]
        body = {"tasks": sent, "project": f"{project.id}.1", "label_config": project.label_config}
        return post(server, "predict", body)["results"]

    def next(self):
        """Return the servers in turn."""
        return next(self._turns)


def post(server, path, body):
    return httpx2.post(f"{server.url}/{path}", json=body, timeout=120).raise_for_status().json()


@pytest.fixture(scope="module")
def servers(label_studio, make_backend, redis_server, postgresql, tmp_path_factory):
    redis_server.client.flushdb()
    settings = {
        "RECONCILE_SECONDS": 600,
        "REDIS_URL": redis_server.url,
        "DATABASE_URL": postgresql.new_database(),
        "LOCAL_FILES_DOCUMENT_ROOT": label_studio.files,
        "ADAPTATION": "off",
    }
    first = make_backend(label_studio.url, label_studio.account.token, **settings)
    others = [BackendServer(first.folder, label_studio.url, label_studio.account.token, **settings) for _ in range(2)]
    with ExitStack() as stack:
        for server in (first, *others):
            stack.callback(server.stop)
        with ThreadPoolExecutor(3) as starting:
            list(starting.map(BackendServer.start, (first, *others)))
        workers = stack.enter_context(Workers(tmp_path_factory.mktemp("workers") / "faults", first.environment))
        database = Database(settings["DATABASE_URL"])
        stack.callback(database.close)
        yield Servers([first, *others], workers, Stores(database))


@pytest.fixture(scope="module")
def projects(client, label_studio):
    """Return projects of different classes, whose images are of a colour of their own, one labelled of each class."""
    made = []
    for number in range(PROJECTS):
        classes = (f"common {number}", f"rare {number}")
        project = client.create_project(f"interleaved {number}", label_config(classes, exemplars=False))
        folder = label_studio.files / f"interleaved-{number}"
        folder.mkdir()
        tasks = []
        for image in range(TASKS):
            Image.new("RGB", (16, 16), (12 * number, 40 * image, 99)).save(folder / f"{image}.png")
            task = {"data": {"image": f"/data/local-files/?d=interleaved-{number}/{image}.png"}}
            if image < len(classes):
                task["annotations"] = [{"result": choice(classes[image])}]
            tasks.append(task)
        client.serve_local_files(project.id, str(folder))
        client.import_tasks(project.id, tasks)
        made.append(client.project(project.id))
    return made


def choice(name):
    return [{"from_name": "diagnosis", "to_name": "image", "type": "choices", "value": {"choices": [name]}}]


def test_twenty_projects_interleaved_do_not_meet(client, servers, projects):
    for project in projects:  # a project that does not name this backend is not served
        client.create_webhook(project.id, f"{servers.all[0].url}/webhook")
    with ThreadPoolExecutor(PROJECTS) as readers:
        list(readers.map(lambda project: servers.setup(servers.next(), project), projects))
        versions = list(readers.map(lambda project: published(servers, project), projects))
        tasks = [client.tasks(project.id) for project in projects]
        predictions = list(readers.map(lambda p, t: servers.predict(servers.next(), p, t), projects, tasks))
    assert len(set(versions)) == PROJECTS
    stores = servers.stores
    for number, project in enumerate(projects):
        classes = (f"common {number}", f"rare {number}")
        ids = [task.id for task in tasks[number]]
        uris = {task.id: task.data["image"] for task in tasks[number]}
        assert {task: image.uri for task, image in stores.images.all(project.id).items()} == uris
        assert {task: entry.label for task, entry in stores.labels.all(project.id).items()} == dict(
            zip(ids, classes, strict=False)
        )
        row = stores.rounds.published(project.id)
        assert sorted(queued.task_id for queued in stores.rounds.queue(row.id)) == ids[len(classes) :]
        there = client.model_versions(project.id)
        assert there.keys() <= {own.version for own in stores.rounds.history(project.id)}
        assert there[row.version] == TASKS - len(classes)
        assert client.project(project.id).model_version == row.version == versions[number]
        checkpoint = servers.all[0].folder / "checkpoints" / str(project.id) / row.version
        assert load_checkpoint(checkpoint)[0].classes == classes
        answered = {(item["model_version"], *named(item)) for item in predictions[number]}
        assert answered <= {(on_demand_version(row.version), name) for name in classes}
    digests = [{image.digest for image in stores.images.all(project.id).values()} for project in projects]
    assert len(set.union(*digests)) == PROJECTS * TASKS


def published(servers, project):
    """Return the version of a project once it has one."""
    wait_until(lambda: servers.stores.rounds.published(project.id), f"a queue of project {project.id}")
    return servers.stores.rounds.published(project.id).version


def named(prediction):
    return [name for region in prediction["result"] for name in region["value"]["choices"]]


def test_all_servers_tell_of_a_running_round_and_agree_at_once_on_its_version(client, servers, projects):
    project, faults = projects[0], servers.workers.faults
    tasks = client.tasks(project.id)
    old = published(servers, project)
    assert {servers.setup(server, project) for server in servers.all} == {on_demand_version(old)}
    faults.hold_at("switched")
    httpx2.post(f"{servers.all[0].url}/projects/{project.id}/rounds", timeout=60).raise_for_status()
    wait_until(lambda: faults.held_at("switched"), "a round at its end")
    told = [server.status(project.id)["round"] for server in servers.all]
    assert {(row["state"], row["stage"]) for row in told} == {("running", "publish")}
    assert {servers.setup(server, project) for server in servers.all} == {on_demand_version(old)}
    faults.release("switched")
    wait_until(lambda: published(servers, project) != old, "a new version")
    new = told[0]["version"]
    assert {servers.setup(server, project) for server in servers.all} == {on_demand_version(new)}
    said = [servers.predict(server, project, tasks) for server in servers.all]
    assert said[0] == said[1] == said[2]
    assert {item["model_version"] for item in said[0]} == {on_demand_version(new)}
    assert client.project(project.id).model_version == new
