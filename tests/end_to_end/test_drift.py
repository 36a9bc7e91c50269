"""What is changed in a real project beside the backend, and two real backends on one."""

from __future__ import annotations

import pytest

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.checks import Place
from clinical_backend.labelstudio.connection.installation import HEADER
from clinical_backend.rounds.drift import Drift, answer_drift
from clinical_backend.rounds.questions import Kind
from clinical_backend.versions import author_of
from tests.end_to_end.conftest import wait_until
from tests.end_to_end.test_connection import clinical

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def asked(loop):
    return {question["name"] for question in loop.status()["questions"] if question["kind"] == Kind.CHANGED}


def test_what_is_ours_is_put_right_and_what_a_person_may_mean_is_asked_about(loop):
    loop.connect()
    # Until the backend has seen its connection once, all that differs is set as it should be.
    wait_until(lambda: Drift.of(loop.stores.projects.get(loop.id)).wired, "the connection seen")
    first = loop.status()["published_version"]
    served = SimulatedReader(loop.client).next(loop.id).id
    loop.client.update_project(loop.id, model_version="")
    (hook,) = loop.client.webhooks(loop.id)
    loop.client.delete_webhook(hook.id)
    wait_until(lambda: loop.client.webhooks(loop.id), "the webhook put back")
    wait_until(lambda: loop.client.project(loop.id).model_version == first, "the queue served again")
    # Label Studio writes a whole project at each change: one during the repair above would be lost there.
    loop.client.update_project(loop.id, sampling="Sequential sampling")
    wait_until(lambda: asked(loop) == {Place.SAMPLING}, "the sampling asked about")
    assert loop.client.project(loop.id).sampling == "Sequential sampling"
    details = " ".join(repair["detail"] for repair in loop.status()["repairs"])
    assert "webhook" in details
    assert "emptied" in details
    answer_drift(loop.project, Place.SAMPLING, put_back=True)
    wait_until(lambda: loop.client.project(loop.id).sampling == "Uncertainty sampling", "the sampling put back")
    assert SimulatedReader(loop.client).next(loop.id).id == served

    loop.client.delete_model_version(loop.id, first)  # as when an older copy of Label Studio is restored
    wait_until(lambda: loop.status()["published_version"] != first, "the queue published anew")
    loop.settle()
    assert loop.client.project(loop.id).model_version == loop.status()["published_version"]
    assert loop.client.model_versions(loop.id)[loop.status()["published_version"]] == len(loop.queue())

    (entry,) = loop.client.backends(loop.id)
    loop.client.delete_backend(entry.id)
    wait_until(lambda: asked(loop) == {Place.ENTRY}, "the removed backend asked about")
    answer_drift(loop.project, Place.ENTRY, put_back=True)
    wait_until(lambda: loop.client.backends(loop.id), "the backend entered again")
    wait_until(lambda: asked(loop) == set(), "nothing left to ask")
    assert loop.client.backends(loop.id)[0].state == "CO"


def test_two_backends_on_one_project_delete_nothing_of_each_other(label_studio, loop, client, make_backend):
    loop.connect()
    settings = {"QUEUE_SIZE": 20, "RECONCILE_SECONDS": 5}
    with make_backend(label_studio.url, label_studio.account.token, **settings) as second:
        refused = clinical(second, "connect", "--project", str(loop.id))
        assert refused.returncode == 1
        assert loop.backend.url in refused.stderr
        assert "--take-over" in refused.stderr
        assert [entry.url for entry in client.backends(loop.id)] == [loop.backend.url]

        form = {"project": loop.id, "url": second.url, "title": "second", "is_interactive": False}
        client.session.request("POST", "api/ml/", json=form)
        wait_until(lambda: (second.status(loop.id) or {}).get("standing_back"), "the second one standing back")
        shown = {entry.title: (entry.state, entry.error_message) for entry in client.backends(loop.id)}
        assert shown["second"][0] == "ER"
        assert "409" in shown["second"][1]  # of an answer, Label Studio shows no more
        doctor = clinical(second, "doctor", "--project", str(loop.id))
        assert "✗ installation" in doctor.stdout
        loop.tag(2)
        loop.wait_for_round(1, exemplars=2)
        loop.settle()
        assert loop.status()["standing_back"] is None
        assert second.status(loop.id)["round"] is None
        published = loop.status()["published_version"]
        assert client.project(loop.id).model_version == published
        assert {author_of(version) for version in client.model_versions(loop.id)} == {author_of(published)}

        taken = clinical(second, "connect", "--project", str(loop.id), "--take-over")
        assert taken.returncode == 0, taken.stderr
        wait_until(lambda: loop.status()["standing_back"], "the first one standing back")
        wait_until(lambda: (second.status(loop.id) or {}).get("published_version"), "the second one's queue")
        taken_over = second.status(loop.id)["published_version"]
        loop.tag(4)
        wait_until(lambda: second.status(loop.id)["exemplars"] >= 4, "the tags heard")
        wait_until(lambda: client.project(loop.id).model_version != published, "the switch")
        assert author_of(client.project(loop.id).model_version) == author_of(taken_over) != author_of(published)
        assert published in client.model_versions(loop.id)
        assert {hook.headers.get(HEADER) for hook in client.webhooks(loop.id)} == {None, author_of(taken_over)}
        again = clinical(loop.backend, "connect", "--project", str(loop.id), "--take-over")
        assert again.returncode == 0, again.stderr
        wait_until(lambda: second.status(loop.id)["standing_back"], "the second one standing back again")
        wait_until(lambda: loop.status()["standing_back"] is None, "the first one serving again")
        loop.settle()
        wait_until(
            lambda: client.project(loop.id).model_version == loop.status()["published_version"], "its queue served"
        )
