"""Every action of the trail as it is really written: by pages, commands, rounds and Label Studio's calls."""

from __future__ import annotations

import sqlite3
import time

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from clinical_backend import cli
from clinical_backend.handover import model_export
from clinical_backend.handover.dataset_export import export_dataset
from clinical_backend.handover.export_options import ExportOptions
from clinical_backend.handover.model_card import CardOptions, write_card
from clinical_backend.handover.model_export import export_model
from clinical_backend.jobs.local_runner import LocalRunner
from clinical_backend.labelstudio.connection import connect as connecting
from clinical_backend.labelstudio.resources import Backend as Entry
from clinical_backend.learner.evaluation.comparison import Comparison
from clinical_backend.rounds import promotion
from clinical_backend.rounds.drift import change_drift
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service import phrasings
from clinical_backend.service.backend import Backend
from clinical_backend.storage.database import Database
from clinical_backend.storage.trail import TrailAction
from clinical_backend.web.app import make_app
from clinical_backend.workspace.components import Components
from clinical_backend.workspace.registration import Registration
from tests.rounds.fake_label_studio import NOT_FOUND, FakeLabelStudio
from tests.small_workspace import picture
from tests.test_exemplar_commands import saved
from tests.web.noting_runner import Wakes
from tests.web.pages.test_routes import BROWSER, token

RED = range(1, 21)
SECRETS = ("Mustermann", "secret-token", "k3y")


@pytest.fixture
def fake_client():
    fake = FakeLabelStudio({n: picture(200 + n if n in RED else n, blue=2 * n) for n in range(1, 61)})
    fake.data = {task: {"patient": f"Mustermann {task}", "note": "secret-token"} for task in fake.uris}
    return fake


class World:
    """A project with all that acts on it, and what the trail tells of it."""

    def __init__(self, workspace, studio, web, tmp_path, monkeypatch):
        self.workspace, self.studio, self.web = workspace, studio, web
        self.folder, self.monkeypatch = tmp_path, monkeypatch
        self.project, self.stores = workspace.project(1), workspace.stores

    def round(self, *tasks):
        for task in tasks:
            self.studio.annotate(task, "red" if task in RED else "dark")
        self.stores.projects.request_round(1, "a test", delay=0)
        reconcile(self.project, look=False)
        return self.stores.rounds.latest(1)

    def send(self, path, **fields):
        page = "/projects/1"
        answer = self.web.post(f"{page}/{path}", data={"token": token(self.web), **fields})
        assert answer.status_code == 303, answer.text

    def command(self, *arguments):
        done = CliRunner().invoke(cli.app, [*arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def told(self, action):
        return [one for one in self.stores.trail.each(1) if one.action == action]


@pytest.fixture
def world(workspace, fake_client, tmp_path, monkeypatch):
    workspace.settings = workspace.settings.model_copy(
        update={"queue_size": 12, "rare_classes": ("red",), "kept_rounds": 2, "backend_url": "http://backend"}
    )
    monkeypatch.chdir(tmp_path)
    for name, value in (("MODEL_DIR", tmp_path), ("LABEL_STUDIO_API_KEY", "k3y"), ("LOGNAME", "ada")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(Components, "client", fake_client)
    settings = workspace.settings.model_copy(update={"basic_auth_user": None})
    with TestClient(make_app(settings, Wakes()), headers=BROWSER, follow_redirects=False) as web:
        yield World(workspace, fake_client, web, tmp_path, monkeypatch)


def connected(world):
    world.stores.projects.forget(1)
    Backend(world.workspace, LocalRunner({})).meet(1)
    _, again = world.told("connected")
    assert (again.who, again.details) == ("Label Studio", {})
    world.monkeypatch.setattr(connecting, "connect", lambda *_, **__: [])
    world.command("connect", "--project", "1", "--no-exemplar-control")
    last = world.told("connected")[-1]
    assert (last.who, last.through, last.details) == ("ada", "command", {"changes": 0, "took_over": False})


def disconnected(world):
    world.studio.faults["project"] = NOT_FOUND
    reconcile(world.project, look=True)
    assert world.stores.projects.get(1) is None


def setting_changed(world):
    world.round(1, 31)
    world.send("settings", queue_size="7", group_field="patient")
    world.send("looked-for", decline="dark")
    world.monkeypatch.setattr(connecting, "connect", lambda *_, **__: [])
    world.command("connect", "--project", "1", "--no-exemplar-control", "--rare", "red")
    entry = Entry(id=1, url="http://backend", project=1, extra_params='{"audit_share": 0.3, "api_key": "secret-token"}')
    world.monkeypatch.setattr(world.studio, "backends", lambda _: [entry])
    registration = Registration(world.workspace, lambda *_: None)
    registration.ask(1, options=True)
    deadline = time.monotonic() + 60
    while not world.stores.projects.get(1).options and time.monotonic() < deadline:
        time.sleep(0.05)
    registration.close()
    found = [
        (one.who, one.through, one.details["setting"], one.details["old"], one.details["new"], one.details["where"])
        for one in world.told("setting changed")
    ]
    assert found == [
        ("page", "page", "group_field", None, "patient", "page"),
        ("page", "page", "queue_size", None, 7, "page"),
        ("page", "page", "declined", [], ["dark"], "page"),
        ("ada", "command", "rare_classes", None, ["red"], "page"),
        ("Label Studio", "Label Studio", "audit_share", None, 0.3, "extra parameters"),
    ]


def change_answered(world):
    changed = {"found": "Sequential sampling", "evidence": "It was changed."}
    change_drift(world.project, lambda drift: drift.asked.update(sampling=changed))
    assert world.told("change in Label Studio answered") == []
    world.send("drift", put_back="sampling")
    assert world.told("change in Label Studio answered")[0].details == {"place": "sampling", "put_back": True}
    world.send("drift", put_back="sampling")  # which is asked no more
    assert len(world.told("change in Label Studio answered")) == 1


def rolled_back(world):
    first = world.round(1, 2, 31, 32)
    world.round(3, 33)
    Backend(world.workspace, LocalRunner({})).rollback(1, first.number)
    (begun,) = world.told("going back to a round begun")
    assert begun.details == {"to": 1, "round": 3}
    published = world.told("queue published")[-1].details
    assert (published["round"], published["because"]) == (3, "rollback to round 1")
    assert published["model_sha256"] == world.told("queue published")[0].details["model_sha256"]


def published(world):
    row = world.round(1, 2, 31, 32)
    (queue,) = world.told("queue published")
    assert (queue.who, queue.details["version"], queue.details["tasks"]) == ("the backend", row.version, 12)
    assert queue.details["settings"]["queue_size"] == 12
    assert queue.details["settings"]["backbone"] == "efficientnet_lite"
    (model,) = world.told("model published")
    assert model.details["model_sha256"] == queue.details["model_sha256"]
    world.round(3)
    again = world.told("queue published")[1].details
    assert "settings" not in again
    assert again["settings_sha256"] == queue.details["settings_sha256"]
    world.send("settings", queue_size="7")
    world.round(4)
    assert world.told("queue published")[2].details["settings"]["queue_size"] == 7


def held_back(world):
    world.round(*range(1, 16), *range(31, 46))
    worse = lambda *_, **__: Comparison(0.1, 0.9, True)  # noqa: E731
    world.monkeypatch.setattr(promotion, "compare", worse)
    world.round(16)
    (one,) = world.told("model not published")
    assert one.details["round"] == 2
    assert one.details["model_round"] == 1
    assert "since it is worse" in one.details["reason"]
    assert world.told("queue published")[1].details["model_round"] == 1


def cleared_up(world):
    rows = [world.round(task) for task in (1, 31, 2, 32)]
    gone = [version for one in world.told("older queues and models deleted") for version in one.details["versions"]]
    assert set(gone) == {row.version for row in rows[:3]}


def second_readings(world):
    world.round(1, 2, 31, 32)
    world.send("second-look", task="1")
    world.send("second-look", take_back="1")
    assert world.told("second reading asked for")[0].details == {"tasks": [1]}
    assert world.told("second reading taken back")[0].details == {"task": 1}


def checks(world):
    world.round(1, 2, 31, 32)
    world.send("second-look/read", task="1", answer="dark")
    world.send("second-look", again="1")
    (one,) = world.told("label checked on the page")
    assert one.details == {"task": 1, "blind": True}
    assert world.told("check of a label taken back")[0].details == {"task": 1}


def tagged(world):
    world.round(1, 31)
    world.send("tags", task="5", tag="more")
    world.send("tags", task="5", tag="none")
    assert world.told("cases tagged on the page")[0].details == {"tasks": [5], "tag": "more like this"}
    assert world.told("tags of the page removed")[0].details == {"tasks": [5]}


def exemplars(world):
    world.round(1, 31)
    image = saved(world.folder / "Mustermann.png", "red")
    world.command("exemplar", "add", "--project", "1", "--finding", "red", "--note", "Mustermann", image)
    world.command("exemplar", "remove", "--project", "1", "1")
    (added,) = world.told("exemplars from outside added")
    assert (added.who, added.details) == ("ada", {"finding": "red", "numbers": [1]})
    assert world.told("exemplar from outside removed")[0].details == {"finding": "red", "number": 1}


def words(world):
    world.round(1, 31)
    world.monkeypatch.setattr(phrasings, "require_text_tower", lambda spec: None)
    world.command("words", "set", "--project", "1", "--finding", "red", "as Mustermann had")
    world.command("words", "remove", "--project", "1", "--finding", "red")
    assert world.told("words for a finding changed")[0].details == {"finding": "red", "phrasings": 1, "contrasts": 0}
    assert world.told("words for a finding removed")[0].details == {"finding": "red"}


def labels_exported(world):
    world.round(1, 2, 31, 32)
    options = ExportOptions("csv", fields=("patient",))
    export_dataset(world.project, options, world.folder / "out", command="clinical export")
    assert world.web.get("/projects/1/labels.csv").status_code == 200
    data_set, page = world.told("labels exported")
    assert data_set.details["options"]["fields"] == ["patient"]
    sums = (world.folder / "out" / "SHA256SUMS").read_bytes()
    assert data_set.details["sha256sums"] == model_export.sha256(sums)
    assert (page.who, page.details) == ("page", {"options": {"form": "csv", "images": "none", "fields": []}})


def reports_exported(world):
    (world.folder / "dicom").mkdir()
    world.command("export", "--project", "1", "--dicom-sr", "reports", "dicom")
    (one,) = world.told("structured reports exported")
    assert one.details == {"options": {"stored": False, "written": True}, "tasks": 0}


def model_exported(world):
    row = world.round(1, 2, 31, 32)
    made = model_export._Published
    parts = type("Parts", (), {"classifier": type("C", (), {"classes": ("dark", "red"), "independent": False})})
    parts.sizes = (32,)
    world.monkeypatch.setattr(model_export, "_by_head", lambda *_, **__: made(parts, {}, lambda _: None))
    world.monkeypatch.setattr(model_export, "portable_graph", lambda _: None)
    world.monkeypatch.setattr(model_export, "sealed", lambda *_: b"model")
    world.monkeypatch.setattr(model_export, "PortableModel", lambda _: None)
    world.monkeypatch.setattr(model_export, "_difference", lambda *_: 0.0)
    done = export_model(world.project, world.folder / "model.onnx")
    (one,) = world.told("model exported")
    assert one.details == {"version": row.version, "sha256": done.sha256}


def card_written(world):
    world.round(*range(1, 16), *range(31, 46))
    write_card(world.project, CardOptions(command="clinical card"), world.folder / "card")
    (one,) = world.told("model card written")
    sums = (world.folder / "card" / "SHA256SUMS").read_bytes()
    assert one.details == {"fields": [], "sha256sums": model_export.sha256(sums)}


def set_aside(world):
    world.round(1, 31)
    world.command("testset", "--project", "1", "--size", "5", "--seed", "3")
    (asked,) = world.told("test set asked for")
    assert (asked.who, asked.details) == ("ada", {"size": 5, "seed": 3, "extend": False, "readings": 1})
    world.round(2)
    (drawn,) = world.told("test set drawn")
    assert (drawn.who, drawn.details["drawn"], drawn.details["seed"]) == ("the backend", 5, 3)


def looked(world):
    for page in ("", "/queue", "/queue?page=2", "/trail", "/fragments/now", "/model/mistakes", "/model", "/nothing"):
        world.web.get(f"/projects/1{page}")
    found = [(one.who, one.through, one.details["page"]) for one in world.told("looked")]
    assert found == [("page", "page", page) for page in ("now", "queue", "trail", "model")]


def changed_past_the_backend(world):
    other = world.folder / "other"
    Database.in_folder(other).close()
    with sqlite3.connect(other / "clinical.sqlite3") as connection:
        connection.execute("UPDATE model_folder SET bound = 1")
    connection.close()
    database = Database.in_folder(other)
    with database.read() as session:
        found = session.connection().exec_driver_sql("SELECT who, project_id, action FROM trail").all()
    database.close()
    assert found == [("the backend", None, TrailAction.CHANGED_PAST_BACKEND)]


PATHS = {
    connected: {TrailAction.CONNECTED},
    disconnected: {TrailAction.DISCONNECTED},
    setting_changed: {TrailAction.SETTING_CHANGED},
    change_answered: {TrailAction.CHANGE_ANSWERED},
    rolled_back: {TrailAction.ROLLBACK_BEGUN},
    published: {TrailAction.QUEUE_PUBLISHED, TrailAction.MODEL_PUBLISHED},
    held_back: {TrailAction.MODEL_HELD_BACK},
    cleared_up: {TrailAction.CLEARED_UP},
    second_readings: {TrailAction.SECOND_READING_ASKED, TrailAction.SECOND_READING_TAKEN_BACK},
    checks: {TrailAction.LABEL_CHECKED, TrailAction.CHECK_TAKEN_BACK},
    tagged: {TrailAction.CASES_TAGGED, TrailAction.TAGS_REMOVED},
    exemplars: {TrailAction.EXEMPLARS_ADDED, TrailAction.EXEMPLAR_REMOVED},
    words: {TrailAction.WORDS_CHANGED, TrailAction.WORDS_REMOVED},
    labels_exported: {TrailAction.LABELS_EXPORTED},
    reports_exported: {TrailAction.REPORTS_EXPORTED},
    model_exported: {TrailAction.MODEL_EXPORTED},
    card_written: {TrailAction.CARD_WRITTEN},
    set_aside: {TrailAction.TEST_SET_ASKED, TrailAction.TEST_SET_DRAWN},
    looked: {TrailAction.LOOKED},
    changed_past_the_backend: {TrailAction.CHANGED_PAST_BACKEND},
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_each_action_is_told_of_by_what_does_it_and_of_no_patient(world, path):
    path(world)
    if path is not changed_past_the_backend:
        assert PATHS[path] <= {one.action for one in world.stores.trail.each(1)}
    assert world.stores.trail.verify().broken is None
    with world.stores.database.read() as session:
        rows = session.connection().exec_driver_sql("SELECT * FROM trail").all()
    assert not [row for row in rows for secret in SECRETS if secret in str(row)]


def test_every_action_has_a_path_that_is_walked():
    assert set().union(*PATHS.values()) == set(TrailAction)
