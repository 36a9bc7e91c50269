"""The doctor on a real Label Studio: one finding per trap."""

from __future__ import annotations

from types import SimpleNamespace

import httpx2
import pytest

from clinical_backend.errors import ImageError, LabelStudioRefusedError
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection import doctor
from clinical_backend.labelstudio.connection.checks import CheckResult, Status, Wanted
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.labelstudio.connection.doctor import Labeling, diagnose
from clinical_backend.labelstudio.publisher import Publisher, QueueItem, queue_score
from clinical_backend.labelstudio.resources import Task
from tests.conftest import label_config, skip_before
from tests.labelstudio.conftest import running_stub

LOGIN = ("reader", "secret")


@pytest.fixture(scope="module")
def backend():
    with running_stub() as stub:
        yield stub


@pytest.fixture
def make_healthy(client, make_project, backend):
    """Return a function that makes a project that is connected and has a queue of three tasks."""

    def make():
        project = make_project(4)
        ids = [task.id for task in client.tasks(project.id)][:3]
        items = [QueueItem(task_id, [], queue_score(rank)) for rank, task_id in enumerate(ids)]
        Publisher(client).publish(project.id, "published", items)
        connect(client, project.id, backend_url=backend.url, published_version="published")
        return project

    return make


@pytest.fixture(scope="module")
def shared():
    """Hold the one project that most tests break and heal."""
    return []


@pytest.fixture
def healthy(client, backend, make_healthy, shared):
    """Return a healthy project, and heal it after the test."""
    if not shared:
        shared.append(make_healthy())
    project = shared[0]
    yield project
    backend.basic_auth = None
    client.update_project(
        project.id,
        sampling=project.sampling,
        maximum_annotations=1,
        show_collab_predictions=True,
        evaluate_predictions_automatically=False,
    )
    connect(client, project.id, backend_url=backend.url, published_version="published")


@pytest.fixture
def findings_of(client, backend):
    def find(project, labeling=None, basic_auth=None, **options):
        wanted = Wanted(backend.url, basic_auth, published="published")
        return diagnose(client, project.id, wanted, labeling, **options)

    return find


def ailing(findings):
    found = {finding.check: (finding.status, finding.message) for finding in findings if finding.status != "ok"}
    assert all(finding.cure for finding in findings if finding.status is not Status.OK)
    return found


def only(findings, check, status, text):
    """Assert that one check alone fails, and how."""
    found = ailing(findings)
    assert list(found) == [check]
    assert found[check][0] is status
    assert text in found[check][1]
    return True


def test_a_healthy_project_has_no_findings_but_good_ones(healthy, findings_of, client):
    read = []
    findings = findings_of(healthy, read_image=lambda uri, task: read.append((uri, task)))
    assert ailing(findings) == {}
    assert {finding.check for finding in findings} == {
        "label studio",
        "token",
        "project",
        "labeling config",
        "exemplars",
        "labels",
        "backend",
        "webhook",
        "sampling",
        "queue",
        "images",
    }
    assert read == [(task.data["image"], task.id) for task in client.tasks(healthy.id)[:3]]


def test_it_changes_nothing(healthy, findings_of, client):
    before = client.project(healthy.id), client.webhooks(healthy.id), client.views(healthy.id)
    findings_of(healthy)
    assert (client.project(healthy.id), client.webhooks(healthy.id), client.views(healthy.id)) == before


@pytest.mark.parametrize("left_out", [True, False])
def test_a_reason_that_would_be_exported_is_named_with_its_cure(healthy, findings_of, client, left_out):
    attribute = ' visibleWhen="choice-unselected"' if left_out else ""
    text = f'<TextArea name="reason" toName="image"{attribute}/></View>'
    client.update_project(healthy.id, label_config=healthy.label_config.rpartition("</View>")[0] + text)
    findings = findings_of(healthy)
    client.update_project(healthy.id, label_config=healthy.label_config)
    assert bool([one for one in findings if one.check == "reasons"]) != left_out
    assert left_out or only(findings, "reasons", Status.WARNING, "stays empty")


def test_a_server_that_is_away_is_the_only_finding():
    with LabelStudioAdmin(
        "http://127.0.0.1:9",
        "0" * 40,
        transport=httpx2.MockTransport(lambda request: httpx2.Response(418, json={"detail": "a teapot"})),
    ) as client:
        findings = diagnose(client, 1, Wanted("http://127.0.0.1:9090"))
    assert only(findings, "label studio", Status.ERROR, "418")


def test_a_wrong_token(label_studio):
    with LabelStudioAdmin(label_studio.url, "0" * 40) as client:
        findings = diagnose(client, 1, Wanted("http://127.0.0.1:9090"))
    assert only(findings, "token", Status.ERROR, "refuses the legacy token")
    assert len(findings) == 2


def test_a_project_that_is_not_there(client, backend):
    findings = diagnose(client, 10_000_000, Wanted(backend.url))
    assert only(findings, "project", Status.ERROR, "404")


def test_an_unsupported_labeling_config(client, backend, findings_of):
    config = label_config().replace('choice="single"', 'choice="single" allowNested="true"')
    project = client.create_project("nested classes", config)
    found = ailing(findings_of(project))
    assert found["labeling config"][0] is Status.ERROR
    assert "allowNested" in found["labeling config"][1]


@pytest.mark.parametrize(("setting", "told"), [("auto", "says that there is none"), ("not answered", "says nothing")])
def test_what_an_empty_answer_says_is_told_as_it_is_set(setting, told):
    config = label_config().replace('choice="single"', 'choice="multiple"')
    project = SimpleNamespace(label_config=config)
    assert told in Labeling(empty_answer=setting).scheme_of(project).learnt


def test_what_the_lead_is_asked(healthy, findings_of):
    cure = "Answer on http://backend/projects/1."
    asked = CheckResult("target", Status.WARNING, "Look for scar too? 1 case is tagged.", cure)
    assert only(findings_of(healthy, known=[asked]), "target", Status.WARNING, "Look for scar too?")


def test_no_exemplar_control(findings_of, make_project, client, backend):
    project = make_project(2, exemplars=False)
    connect(client, project.id, backend_url=backend.url)
    assert ailing(findings_of(project))["exemplars"][0] is Status.WARNING


def test_no_exemplar_control_is_needed_where_a_class_is_looked_for_by_name(findings_of, make_project, client, backend):
    project = make_project(2, exemplars=False)
    connect(client, project.id, backend_url=backend.url)
    assert "exemplars" not in ailing(findings_of(project, Labeling(named=["rare"])))


def test_annotations_with_a_class_that_was_renamed(make_healthy, findings_of, client):
    healthy = make_healthy()
    SimulatedReader(client).annotate(client.tasks(healthy.id)[3], {"diagnosis": ["rare"]})
    client.update_project(healthy.id, label_config=label_config(("common", "rarer")))
    assert only(findings_of(healthy), "labels", Status.WARNING, "'rare' (1)")


def test_no_backend(healthy, findings_of, client):
    client.delete_backend(client.backends(healthy.id)[0].id)
    assert only(findings_of(healthy), "backend", Status.ERROR, "no backend at")


@pytest.mark.parametrize("extra", ['{"queue_size": ', "[1]", [1], 5])
def test_extra_params_that_are_no_object(healthy, findings_of, client, extra):
    (entry,) = client.backends(healthy.id)
    address = f"api/ml/{entry.id}"
    client.session.request("PATCH", address, json={"project": healthy.id, "url": entry.url, "extra_params": extra})
    findings = findings_of(healthy)
    client.session.request("PATCH", address, json={"project": healthy.id, "url": entry.url, "extra_params": None})
    assert only(findings, "extra params", Status.WARNING, "no JSON object: the earlier options hold")
    assert ailing(findings_of(healthy)) == {}


def test_a_backend_that_is_entered_twice(healthy, findings_of, client, backend):
    client.add_backend(healthy.id, backend.url + "/")
    assert only(findings_of(healthy), "backend", Status.WARNING, "2 times")


def test_a_backend_that_refuses_the_login(healthy, findings_of, backend):
    backend.basic_auth = LOGIN
    found = ailing(findings_of(healthy, basic_auth=LOGIN))
    assert found["backend"][0] is Status.ERROR
    assert found["webhook"] == (Status.ERROR, found["webhook"][1])
    assert "401" in found["webhook"][1]


def test_a_login_that_the_backend_no_longer_asks_for(healthy, findings_of, client, backend):
    connect(client, healthy.id, backend_url=backend.url, basic_auth=LOGIN, published_version="published")
    assert only(findings_of(healthy), "backend", Status.WARNING, "login")


def test_an_interactive_backend(healthy, findings_of, client):
    client.update_backend(client.backends(healthy.id)[0], is_interactive=True)
    assert only(findings_of(healthy), "backend", Status.WARNING, "interactive")


def test_no_webhook(healthy, findings_of, client):
    client.delete_webhook(client.webhooks(healthy.id)[0].id)
    assert only(findings_of(healthy), "webhook", Status.ERROR, "does not hear")


def test_a_webhook_that_is_off(healthy, findings_of, client):
    client.update_webhook(client.webhooks(healthy.id)[0].id, is_active=False)
    assert only(findings_of(healthy), "webhook", Status.ERROR, "off")


def test_a_webhook_that_is_there_twice(healthy, findings_of, client, backend):
    client.create_webhook(healthy.id, backend.url + "/webhook/")
    assert only(findings_of(healthy), "webhook", Status.WARNING, "2 webhooks")


def test_a_webhook_without_the_login(healthy, findings_of, client, backend):
    connect(client, healthy.id, backend_url=backend.url, basic_auth=LOGIN, published_version="published")
    client.update_webhook(client.webhooks(healthy.id)[0].id, headers={})
    assert only(findings_of(healthy, basic_auth=LOGIN), "webhook", Status.ERROR, "401")


def test_the_half_open_server_that_leaves_a_backend_without_webhook(half_open_client, backend):
    client = half_open_client
    skip_before(client, "1.23", "blocks no private addresses by default")
    project = client.create_project("by hand", label_config())
    with pytest.raises(LabelStudioRefusedError):
        client.add_backend(project.id, backend.url)
    assert [entry.state for entry in client.backends(project.id)] == ["CO"]
    findings = diagnose(client, project.id, Wanted(backend.url))
    [finding] = [finding for finding in findings if finding.check == "webhook"]
    assert finding.status is Status.ERROR
    assert "LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false" in finding.cure


def test_another_sampling(healthy, findings_of, client):
    client.update_project(healthy.id, sampling="Sequential sampling")
    assert only(findings_of(healthy), "sampling", Status.ERROR, "Sequential")


def test_several_annotations_per_task(healthy, findings_of, client):
    client.update_project(healthy.id, maximum_annotations=3)
    assert only(findings_of(healthy), "annotations per task", Status.WARNING, "3 annotations")


def test_predictions_that_are_not_shown(healthy, findings_of, client):
    client.update_project(healthy.id, show_collab_predictions=False)
    found = ailing(findings_of(healthy))
    assert found["predictions"][0] is Status.WARNING
    assert found["queue"][0] is Status.ERROR


def test_predictions_that_are_evaluated_with_every_page(healthy, findings_of, client):
    client.update_project(healthy.id, evaluate_predictions_automatically=True)
    assert only(findings_of(healthy), "predictions", Status.WARNING, "whenever a page")


def test_a_model_version_that_is_the_backends_title(healthy, findings_of, client):
    client.update_project(healthy.id, model_version="Clinical")
    assert only(findings_of(healthy), "queue", Status.ERROR, "names no predictions")


def test_a_model_version_of_somebody_else(healthy, findings_of, client):
    theirs = [{"task": client.tasks(healthy.id)[0].id, "result": [], "score": 0.1, "model_version": "theirs"}]
    client.import_predictions(healthy.id, theirs)
    client.update_project(healthy.id, model_version="theirs")
    assert only(findings_of(healthy), "queue", Status.WARNING, "'theirs'")


def test_a_project_without_a_queue_yet(client, make_project, backend):
    project = make_project(2)
    connect(client, project.id, backend_url=backend.url)
    findings = diagnose(client, project.id, Wanted(backend.url))
    assert only(findings, "queue", Status.WARNING, "empty")


def test_a_project_whose_tasks_are_all_answered_needs_no_queue(make_healthy, findings_of, client):
    healthy = make_healthy()
    for task in client.tasks(healthy.id):
        SimulatedReader(client).annotate(task, {"diagnosis": ["common"]})
    assert "queue" not in ailing(findings_of(healthy))


def test_a_queue_that_is_used_up(make_healthy, findings_of, client):
    healthy = make_healthy()
    reader = SimulatedReader(client)
    for _ in range(3):
        reader.annotate(reader.next(healthy.id), {"diagnosis": ["common"]})
    assert only(findings_of(healthy), "queue", Status.WARNING, "All tasks")


def test_a_project_without_tasks(client, make_project, backend):
    project = make_project(0)
    connect(client, project.id, backend_url=backend.url)
    assert ailing(diagnose(client, project.id, Wanted(backend.url)))["images"][0] is Status.WARNING


def test_an_image_that_cannot_be_read(healthy, findings_of):
    def read(uri, task_id):
        raise ImageError("The image is no image.", "Import another.")

    findings = findings_of(healthy, read_image=read)
    assert only(findings, "images", Status.ERROR, "no image")


def test_a_task_without_image(client, make_project, backend):
    project = make_project(0)
    client.import_tasks(project.id, [{"data": {"image": ""}}])
    connect(client, project.id, backend_url=backend.url)
    findings = diagnose(client, project.id, Wanted(backend.url), read_image=lambda uri, task: None)
    assert "no address" in ailing(findings)["images"][1]


def test_a_task_that_label_studio_fails_in_giving_is_not_taken_for_one_without_an_image():
    tasks = [Task(id=1, withheld=True), Task(id=2, data={"image": "/2.png"})]
    client = SimpleNamespace(first_tasks=lambda *_: tasks)
    project = SimpleNamespace(id=1, label_config=label_config())
    read = []
    (found,) = doctor._images(client, project, Labeling(), lambda *image: read.append(image))
    assert (found.status, read) == (Status.OK, [("/2.png", 2)])
