"""A project of films with several findings: the real Label Studio, the real backend, and a reader in a browser."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from clinical_backend.images.sources import ImageSource
from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.run import DemoProject
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.labelstudio.labeling.retrieval import fetch_labels
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.multilabel import as_words, findings_of, pack, says
from clinical_backend.origins import Draw
from clinical_backend.versions import on_demand_version
from tests.chromium import chromium_browser, needs_chromium, sign_in
from tests.end_to_end.conftest import CREDENTIALS, Loop

PATIENCE = 120_000.0
"""How long a page may take on a busy machine, in milliseconds."""
SETTINGS = {"QUEUE_SIZE": 20, "START_TRAINING_EACH_N_UPDATES": 1000, "RECONCILE_SECONDS": 600, "ADAPTATION": "off"}
RARE = ("basophil-like", "platelet-like")
CONFIG = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <Choices name="findings" toName="image" choice="multiple">{findings}</Choices>
  <Choices name="exemplar" toName="image" choice="multiple" required="false">
    <Choice value="more like this"/><Choice value="not like this"/>
  </Choices>
  <TextArea name="reason" toName="image" visibleWhen="choice-unselected"/>
</View>"""


@pytest.fixture(scope="module")
def films(client, label_studio):
    """A project of films that show two cells each, side by side, and the truth."""
    cells = drawn_cells(200, 24, seed=5)
    names = cells.classes
    folder = label_studio.files / "films"
    folder.mkdir()
    config = CONFIG.format(findings="".join(f'<Choice value="{name}"/>' for name in names))
    project = client.create_project("films", config)
    client.serve_local_files(project.id, str(folder))
    tasks, truth = [], []
    for number in range(100):
        pair = [2 * number, 2 * number + 1]
        Image.fromarray(np.concatenate([cells.images[one] for one in pair], axis=1)).save(folder / f"{number:03}.png")
        tasks.append({"data": {"image": f"/data/local-files/?d=films/{number:03}.png"}})
        truth.append(pack(names[cells.labels[one]] for one in pair))
    ids = client.import_tasks(project.id, tasks)
    return DemoProject(client.project(project.id), dict(zip(ids, truth, strict=True)), names[0]), names


@pytest.fixture(scope="module")
def backend(client, label_studio, make_backend):
    with make_backend(label_studio.url, label_studio.account.token, **SETTINGS, **CREDENTIALS) as server:
        yield server


@pytest.fixture(scope="module")
def loop(client, backend, films):
    """The project, connected, with a few cases of two findings tagged, and others without either."""
    demo, names = films
    made = Loop(client, backend, demo)
    reader = SimulatedReader(client)
    sought = (names[0], names[3])
    tagged = [task for name in sought for task in having(demo.truth, name)[:3]]
    others = [task for task, label in demo.truth.items() if not findings_of(label) & set(sought)][:10]
    for task in dict.fromkeys([*tagged, *others]):
        tags = {"exemplar": ["more like this"]} if task in tagged else {}
        reader.annotate(task, {"findings": sorted(findings_of(demo.truth[task])), **tags})
    connect(client, made.id, backend_url=backend.url, basic_auth=backend.credentials, rare_classes=sought)
    made.wait_for_round(0, labels=len({*tagged, *others}))
    made.settle()
    yield made
    made.stores.database.close()


def having(truth, name):
    return [task for task, label in truth.items() if says(label, name)]


def queue_of(loop):
    return loop.stores.rounds.queue(loop.stores.rounds.published(loop.id).id)


def test_each_label_keeps_its_findings_and_the_queue_serves_both_targets(loop):
    labels = {task: row.label for task, row in loop.stores.labels.all(loop.id).items()}
    assert all(label == loop.demo.truth[task] for task, label in labels.items())
    sought = [row for row in queue_of(loop) if row.draw is Draw.TARGET]
    served = Counter(row.targets[0] for row in sought)
    assert len(served) == 2
    assert min(served.values()) >= len(sought) // 3
    found = sum(bool(findings_of(loop.demo.truth[row.task_id]) & set(served)) for row in sought[:8])
    assert found >= 5


def retrieve(loop, tasks):
    """Have Label Studio retrieve predictions of tasks, and return what each says is there."""
    loop.client.session.request(
        "POST",
        "api/dm/actions/",
        params={"id": "retrieve_tasks_predictions", "project": loop.id},
        json={"selectedItems": {"all": False, "included": tasks}, "project": loop.id},
    )
    version = on_demand_version(loop.status()["published_version"])
    held = loop.client.session.request("GET", "api/predictions/", params={"project": loop.id})
    ours = [item for item in held if item["model_version"] == version]
    return {item["task"]: {name for region in item["result"] for name in region["value"]["choices"]} for item in ours}


def test_retrieved_predictions_say_which_findings_there_are(loop):
    tasks = [row.task_id for row in queue_of(loop)[:5]]
    chosen = retrieve(loop, tasks)
    assert set(chosen) == set(tasks)
    found = set().union(*chosen.values())
    assert found
    assert found <= {name for label in loop.demo.truth.values() for name in findings_of(label)}


def test_a_model_that_is_exported_says_elsewhere_what_label_studio_retrieves(loop, label_studio, tmp_path):
    tasks = [row.task_id for row in queue_of(loop)[:5]]
    retrieved = retrieve(loop, tasks)
    home, folder = tmp_path / "home", tmp_path / "images"
    home.mkdir()
    folder.mkdir()
    images = loop.stores.images.all(loop.id, tasks)
    source = ImageSource(label_studio.url, loop.client.http)
    for task in tasks:
        (folder / str(task)).write_bytes(source.fetch(images[task].uri, task))
    bare = {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = ""
    for arguments, environment in (
        (["export-model", "model.onnx", "--project", str(loop.id)], loop.backend.environment),
        (["card", "--project", str(loop.id), "--out", "card", "--model", "model.onnx"], loop.backend.environment),
        (["predict", "model.onnx", "images", "--format", "json"], bare),
    ):
        command = [sys.executable, "-m", "clinical_backend", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    found = {int(one["file"]): {*one["label"].split(", ")} - {"no finding"} for one in json.loads(said)}
    assert found == retrieved
    assert list(home.iterdir()) == []
    card = (tmp_path / "card/MODEL_CARD.md").read_text()
    assert hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest() in card
    assert "flatters" in card, "no random draw has a label yet"


def test_what_is_exported_is_imported_by_label_studio_with_the_same_labels(loop, tmp_path):
    chosen = ["--out", str(tmp_path / "out"), "--format", "label-studio", "--images", "reference"]
    done = subprocess.run(
        [sys.executable, "-m", "clinical_backend", "export", "--project", str(loop.id), *chosen],
        env=loop.backend.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    datasheet = (tmp_path / "out/datasheet.md").read_text()
    assert "--out out --format label-studio" in datasheet
    assert str(tmp_path) not in datasheet
    again = loop.client.create_project("films again", loop.demo.project.label_config)
    loop.client.import_tasks(again.id, json.loads((tmp_path / "out/tasks.json").read_text()))
    read = fetch_labels(loop.client, again, read_scheme(again.label_config)).classes
    before = {task.data["image"]: task.id for task in loop.client.tasks(loop.id)}
    labels = {before[task.data["image"]]: read[task.id] for task in loop.client.tasks(again.id)}
    assert labels == {task: row.label for task, row in loop.stores.labels.all(loop.id).items()}


@needs_chromium[0]
@needs_chromium[1]
def test_a_reader_ticks_two_findings_and_tags_the_case_and_the_queue_and_the_page_follow(loop, label_studio):
    task = next(row.task_id for row in queue_of(loop) if len(findings_of(loop.demo.truth[row.task_id])) == 2)
    names = sorted(findings_of(loop.demo.truth[task]))
    number = loop.status()["round"]["number"]
    with chromium_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 1200})
        page.set_default_timeout(PATIENCE)
        sign_in(page, label_studio)
        page.goto(f"{label_studio.url}/projects/{loop.id}/data?task={task}")
        for name in [*names, "more like this"]:
            page.locator(f'input[name="{name}"]').first.check(force=True)
        with page.expect_response(lambda reply: "/annotations" in reply.url and reply.request.method == "POST"):
            page.get_by_role("button", name="Submit").first.click()
        (entry,) = loop.client.backends(loop.id)
        loop.client.train(entry.id)
        loop.wait_for_round(number)
        loop.settle()
        row = loop.stores.labels.all(loop.id)[task]
        assert (row.label, row.steer) == (pack(names), 1)
        assert task not in loop.queue()
        user, password = loop.backend.credentials
        ours = chromium.new_context(http_credentials={"username": user, "password": password}).new_page()
        ours.set_default_timeout(PATIENCE)
        ours.goto(f"{loop.backend.url}/projects/{loop.id}/exemplars")
        expect(ours.get_by_text(as_words(pack(names)), exact=True).first).to_be_visible()
        ours.goto(f"{loop.backend.url}/projects/{loop.id}/queue")
        expect(ours.get_by_text("Sought for").first).to_be_visible()
        ours.goto(f"{loop.backend.url}/projects/{loop.id}/model")
        expect(ours.get_by_role("heading", name="By finding")).to_be_visible()
