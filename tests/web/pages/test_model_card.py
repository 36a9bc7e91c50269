"""The model card as a page: that of the command, for who may see the project."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.labelstudio.resources import AnnotatedTask
from clinical_backend.web.pages import model_card
from clinical_backend.workspace.workspace import ProjectWorkspace
from tests.web.pages.test_model import judged
from tests.web.pages.test_routes import configuration, filled, stores, wakes, web, workspace

__all__ = ["configuration", "filled", "judged", "stores", "wakes", "web", "workspace"]  # fixtures

CARD = "/projects/1/model/card"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """The labels are all out of fold, and exporting a network takes half a minute."""
    monkeypatch.setattr(ProjectWorkspace, "representations", lambda _: [])


def test_the_models_page_leads_to_the_card_where_labels_judge_a_model(web, stores, judged):
    assert f'href="{CARD}"' in web.get("/projects/1/model").text
    stores.projects.register(2)
    assert "/model/card" not in web.get("/projects/2/model").text


def test_the_page_is_the_card_and_its_policy_allows_its_own_styles_alone(web, judged):
    reply = web.get(CARD)
    assert reply.status_code == 200
    assert "<h1>Model card: " in reply.text
    assert judged.version in reply.text
    style = re.search(r"<style>(.*?)</style>", reply.text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = reply.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_site_makes_subgroups_and_its_name_stays_text(web, stores, judged):
    stores.projects.change(1, sited_by="<b>site</b>")
    addresses = {task: f"/data/local-files/?d={task}.png" for task in range(1, 101)}
    stores.images.synchronise(1, addresses, complete=True, sites=dict.fromkeys(range(1, 5), "North"))
    text = web.get(CARD).text
    assert "By &lt;b&gt;site&lt;/b&gt;" in text
    assert "North" not in text, "four patients are too few for a subgroup"


def test_a_site_field_that_no_task_has_hinders_no_card(web, stores, judged):
    stores.projects.change(1, sited_by="site")
    reply = web.get(CARD)
    assert reply.status_code == 200
    assert "By site" not in reply.text


def test_without_a_judged_model_the_page_says_what_is_missing(web, stores):
    stores.projects.register(2)
    reply = web.get("/projects/2/model/card", headers={"accept": "text/html"})
    assert reply.status_code == 400
    assert "has no published model" in reply.text
    assert web.get("/projects/9/model/card").status_code == 404


def test_what_would_take_long_is_left_to_the_command(web, judged, monkeypatch):
    monkeypatch.setattr(model_card, "_MOST_LABELS", 3)
    assert "clinical card --project 1 --out FOLDER" in web.get(CARD).text


@pytest.mark.parametrize("query", ["&".join(f"field={n}" for n in range(6)), f"field={'x' * 201}"])
def test_a_page_by_too_many_fields_or_too_long_ones_is_refused(web, judged, query):
    assert web.get(f"{CARD}?{query}").status_code in {400, 404}


def test_one_card_is_made_at_a_time(web, judged):
    with model_card._MAKING:
        assert "being made already" in web.get(CARD).text
    assert web.get(CARD).status_code == 200


def test_a_field_is_read_from_label_studio_when_it_is_asked_for(web, judged, monkeypatch):
    asked = []

    def answers(client, project, tasks):
        asked.extend(tasks)
        return [AnnotatedTask(id=task, data={"sex": "f"}) for task in tasks]

    monkeypatch.setattr(LabelStudioClient, "tasks_with_answers", answers)
    web.get(CARD)
    assert asked == []
    assert "By sex" in web.get(f"{CARD}?field=sex").text
    assert sorted(asked) == [1, 2, 3, 4]
