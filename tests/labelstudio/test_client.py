"""The client against a real Label Studio."""

from __future__ import annotations

import httpx2
import pytest

from clinical_backend.errors import LabelStudioRefusedError, LabelStudioUnauthorizedError
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio import client as client_module
from clinical_backend.labelstudio.labeling.fields import lookup
from tests.conftest import is_before, skip_before


def test_names_the_version_and_the_user(client):
    assert client.version().startswith("1.")
    assert client.whoami().email == "admin@example.com"
    assert client.token_kind == "legacy"


def test_reads_and_changes_a_project(client, project):
    client.update_project(project.id, title="another title")
    changed = client.project(project.id)
    assert (changed.title, changed.task_number) == ("another title", 12)
    assert changed.sampling == "Uncertainty sampling"
    assert project.id in {each.id for each in client.projects()}


def test_a_project_that_is_not_there_is_refused_with_its_status(client):
    with pytest.raises(LabelStudioRefusedError, match="404") as refusal:
        client.project(10_000_000)
    assert refusal.value.status == 404


def test_deletes_a_project(client, make_project):
    project = make_project(2)
    client.delete_project(project.id)
    with pytest.raises(LabelStudioRefusedError):
        client.project(project.id)


def test_lists_tasks_in_pages_by_ascending_id_and_from_an_id_on(client, project, monkeypatch):
    monkeypatch.setattr(client_module, "_PAGE", 5)
    tasks = client.tasks(project.id)
    assert [task.data["number"] for task in tasks] == list(range(12))
    assert [task.id for task in tasks] == sorted(task.id for task in tasks)
    assert client.tasks(project.id, after_id=tasks[7].id) == tasks[8:]
    assert client.tasks(project.id, after_id=tasks[-1].id) == []


def test_listing_tasks_does_not_make_label_studio_ask_the_backend(client, project, stub_backend):
    client.add_backend(project.id, stub_backend.url)
    client.update_project(project.id, evaluate_predictions_automatically=True)
    stub_backend.calls.clear()
    assert len(client.tasks(project.id)) == 12
    assert "/predict" not in stub_backend.paths


def test_annotated_tasks_are_those_answered_skipped_starred_or_imported_with_annotations(client, project):
    reader = SimulatedReader(client)
    tasks = client.tasks(project.id)
    reader.annotate(tasks[0], {"diagnosis": ["rare"], "exemplar": ["more like this"]})
    reader.skip(tasks[1])
    reader.star(reader.annotate(tasks[2], {"diagnosis": ["common"]}))
    reader.withdraw(reader.annotate(tasks[3], {"diagnosis": ["common"]}))
    changed = reader.annotate(tasks[4], {"diagnosis": ["common"]})
    reader.change(changed, {"diagnosis": ["rare"]})
    region = {"from_name": "diagnosis", "to_name": "image", "type": "choices", "value": {"choices": ["rare"]}}
    [imported] = client.import_tasks(project.id, [{"data": {"image": "x.png"}, "annotations": [{"result": [region]}]}])
    answered = {task.id: task.annotations for task in client.annotated_tasks(project.id)}
    assert sorted(answered) == [tasks[0].id, tasks[1].id, tasks[2].id, tasks[4].id, imported]
    assert answered[tasks[1].id][0].was_cancelled
    assert answered[tasks[2].id][0].ground_truth
    assert answered[tasks[4].id][0].result[0]["value"] == {"choices": ["rare"]}
    assert answered[imported][0].result[0]["value"] == {"choices": ["rare"]}


def test_annotated_tasks_leaves_no_export_on_label_studios_disk(client, project, label_studio):
    SimulatedReader(client).annotate(client.tasks(project.id)[0], {"diagnosis": ["rare"]})
    assert len(client.annotated_tasks(project.id)) == 1
    assert not list((label_studio.data / "export").glob("*"))


def test_a_draft_is_no_answer(client, project):
    task = client.tasks(project.id)[0]
    client.session.request("POST", f"api/tasks/{task.id}/drafts", json={"result": [], "lead_time": 1.0})
    assert client.annotated_tasks(project.id) == []


def test_existing_tasks_tells_deleted_ones_and_those_of_other_projects(client, project, make_project):
    tasks = [task.id for task in client.tasks(project.id)]
    other = client.tasks(make_project(1).id)[0].id
    client.delete_task(tasks[3])
    assert client.existing_tasks(project.id, [*tasks[:5], other]) == set(tasks[:5]) - {tasks[3]}
    assert client.existing_tasks(project.id, []) == frozenset()


def test_existing_tasks_asks_in_parts_that_an_address_can_hold(client, project, monkeypatch):
    monkeypatch.setattr(client_module, "IDS_PER_ADDRESS", 5)
    tasks = [task.id for task in client.tasks(project.id)]
    client.delete_task(tasks[6])
    assert client.existing_tasks(project.id, tasks) == set(tasks) - {tasks[6]}


def test_a_server_that_caps_its_pages_hides_no_task(label_studio, client, project):
    class Capped(httpx2.HTTPTransport):
        def handle_request(self, request):
            request.url = request.url.copy_set_param("page_size", 4)
            return super().handle_request(request)

    tasks = client.tasks(project.id)
    with LabelStudioAdmin(label_studio.url, label_studio.account.token, transport=Capped()) as capped:
        assert capped.tasks(project.id) == tasks
        assert capped.existing_tasks(project.id, [task.id for task in tasks]) == {task.id for task in tasks}


def test_predictions_are_imported_counted_and_deleted_by_version(client, project):
    tasks = client.tasks(project.id)
    items = [{"task": task.id, "result": [], "score": 0.1, "model_version": "a"} for task in tasks[:3]]
    assert client.import_predictions(project.id, items) == 3
    assert client.model_versions(project.id) == {"a": 3}
    assert client.delete_model_version(project.id, "a") == 3
    assert client.model_versions(project.id) == {}


def test_model_versions_leaves_out_one_without_predictions(client, project, stub_backend):
    client.add_backend(project.id, stub_backend.url, title="a title")
    assert client.project(project.id).model_version == "a title"
    assert client.model_versions(project.id) == {}


def test_next_task_is_none_when_all_are_answered(client, make_project):
    project = make_project(1)
    reader = SimulatedReader(client)
    task = reader.next(project.id)
    assert task is not None
    reader.annotate(task, {"diagnosis": ["rare"]})
    assert reader.next(project.id) is None
    with pytest.raises(LabelStudioRefusedError, match="404"):
        client.next_task(10_000_000)


def test_backends_are_added_changed_trained_and_removed(client, project, stub_backend):
    added = client.add_backend(project.id, stub_backend.url, title="one")
    assert client.update_backend(added, title="two").title == "two"
    client.train(added.id)
    assert stub_backend.last("/webhook").body["action"] == "START_TRAINING"
    [entry] = client.backends(project.id)
    assert (entry.title, entry.url, entry.project) == ("two", stub_backend.url, project.id)
    client.delete_backend(entry.id)
    assert client.backends(project.id) == []


def test_webhooks_are_created_changed_and_deleted(client, project, stub_backend):
    hook = client.create_webhook(project.id, stub_backend.url + "/webhook")
    client.update_webhook(hook.id, headers={"Authorization": "Basic abc"}, is_active=False)
    [changed] = client.webhooks(project.id)
    assert changed.headers == {"Authorization": "Basic abc"}
    assert not changed.is_active
    assert "abc" not in repr(changed)
    client.delete_webhook(hook.id)
    assert client.webhooks(project.id) == []


def test_views_are_created_and_listed(client, project):
    client.create_view(project.id, {"title": "a tab", "type": "list", "target": "tasks"})
    assert "a tab" in {view.title for view in client.views(project.id)}


def test_images_are_fetched_through_the_authenticated_client(client, project):
    address = client.tasks(project.id)[0].data["image"]
    assert client.http.get(address).content.startswith(b"\x89PNG")


def test_a_wrong_legacy_token_is_unauthorized_and_not_in_the_message(label_studio):
    token = "0" * 40
    with (
        LabelStudioAdmin(label_studio.url, token) as stranger,
        pytest.raises(LabelStudioUnauthorizedError) as refusal,
    ):
        stranger.whoami()
    assert token not in str(refusal.value)


def test_a_personal_access_token_works_for_everything(personal_client, project):
    assert personal_client.token_kind == "personal"
    assert personal_client.whoami().email == "admin@example.com"
    assert len(personal_client.tasks(project.id)) == 12
    assert personal_client.http.get("/api/version/").is_success


def test_a_personal_access_token_works_where_legacy_tokens_are_off(client, personal_client, project):
    settings = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
    personal_client.session.request("POST", "api/jwt/settings", json=settings | {"legacy_api_tokens_enabled": False})
    try:
        with pytest.raises(LabelStudioUnauthorizedError, match="legacy"):
            client.whoami()
        assert personal_client.project(project.id).id == project.id
    finally:
        personal_client.session.request("POST", "api/jwt/settings", json=settings)
    assert client.whoami().id


def test_a_forged_personal_access_token_is_unauthorized(client, label_studio):
    skip_before(client, "1.17", "has no personal access tokens")
    forged = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
    with (
        LabelStudioAdmin(label_studio.url, forged) as stranger,
        pytest.raises(LabelStudioUnauthorizedError, match="personal access token") as refusal,
    ):
        stranger.whoami()
    assert forged not in str(refusal.value)


def test_a_release_without_personal_access_tokens_asks_for_a_legacy_one(client, label_studio):
    if not is_before(client, "1.17"):
        pytest.skip(f"Label Studio {client.version()} has personal access tokens")
    personal = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
    with (
        LabelStudioAdmin(label_studio.url, personal) as modern,
        pytest.raises(LabelStudioRefusedError, match="404") as refusal,
    ):
        modern.whoami()
    assert "legacy" in refusal.value.cure


def test_tasks_are_found_by_a_value_of_their_data_which_stands_in_no_log(label_studio, client, make_project):
    project = make_project(3)
    data = [
        {
            "image": f"/{name}.png",
            "patient": patient,
            "accession": 1000 + number,
            "case": {"study": {"id": f"S_{number}%", "number": number}},
            "study.site": "North",
            "mixed": [123, "A123", None][number],
        }
        for number, (name, patient) in enumerate([("a", "Mustermann^Jane"), ("b", 'O"Neil'), ("c", "Mustermann^Jane")])
    ]
    client.http.post(f"api/projects/{project.id}/import", json=data).raise_for_status()

    def found(field, value, limit=48, whole=True):
        answer = client.tasks_with_value(project.id, field, value, limit, 60.0, whole=whole)
        return [lookup(data, field) for data in answer.data.values()], answer.total

    assert found("patient", "Mustermann^Jane") == (["Mustermann^Jane", "Mustermann^Jane"], 2)
    assert found("patient", "Mustermann^Jane", 1) == (["Mustermann^Jane"], 2)
    assert found("patient", 'O"Neil') == (['O"Neil'], 1)
    assert found("patient", "Mustermann") == ([], 0)
    assert found("accession", "1001") == ([1001], 1)
    assert found("mixed", "123") == ([123], 1)
    assert found("mixed", "23", whole=False) == (["A123", 123], 2)
    assert found("nonsense", "x") == ([], 0)
    assert found("case.study.id", "S_1%") == (["S_1%"], 1)
    assert found("patient", "musterMANN", whole=False) == (["Mustermann^Jane", "Mustermann^Jane"], 2)
    assert found("accession", "100", whole=False) == ([1002, 1001, 1000], 3)
    assert found("case.study.id", "s_2", whole=False) == (["S_2%"], 1)
    assert found("case.study.id", "sx2", whole=False) == ([], 0)
    assert found("case.study.number", "2") == ([2], 1)
    assert found("study.site", "north", whole=False, limit=1) == (["North"], 3)
    assert found("nonsense", "x", whole=False) == ([], 0)
    ids = list(client.tasks_with_value(project.id, "patient", "Mustermann^Jane", 48, 60.0, whole=True).data)
    assert ids == sorted(ids, reverse=True)
    assert "Mustermann" not in label_studio.log.read_text(errors="replace")
