"""The page of the map, its points for the script, and the same as tables."""

import json
from html import escape

import numpy as np
import pytest

from clinical_backend.errors import ModelError
from clinical_backend.storage.schema import TaskLabel
from clinical_backend.training.mapping import note_map
from clinical_backend.web.pages import map as page
from clinical_backend.workspace.map_files import MapNote, asked_since, save_note
from tests.drawn_map import draw_by_hand
from tests.web.pages.test_routes import (
    assert_sound,
    configuration,
    filled,
    rich,
    stores,
    token,
    wakes,
    web,
    workspace,
)

__all__ = ["configuration", "filled", "rich", "stores", "wakes", "web", "workspace"]  # fixtures


@pytest.fixture
def project(workspace, rich):
    return workspace.project(1)


@pytest.fixture
def drawn(project):
    return draw_by_hand(project)


def read(content):
    """Read what the script is given, as it does."""
    length = int.from_bytes(content[:4], "little")
    head, at = json.loads(content[4 : 4 + length]), 4 + length
    assert at % 8 == 0
    arrays = []
    kinds = [("<f8", 1), ("<f4", 2), ("u1", 1), ("u1", 1), *[("u1", 1)] * len(head["columns"])]
    for kind, times in kinds:
        array = np.frombuffer(content, kind, head["count"] * times, at)
        arrays.append(array)
        at += array.nbytes
    assert at == len(content)
    return head, arrays


def test_who_opens_the_map_has_it_drawn_and_is_told_what_becomes_of_it(web, project, stores):
    assert asked_since(project.map_folder) is None
    text = web.get("/projects/1/map").text
    assert_sound(text)
    assert "There is nothing to draw yet" in text
    assert asked_since(project.map_folder) < 60
    stores.images.found(1, {7: "digest"})
    assert "The map is being drawn" in web.get("/projects/1/map").text
    save_note(project.map_folder, MapNote(message="5,000 tasks are laid out."))
    assert "5,000 tasks are laid out." in web.get("/projects/1/fragments/map").text
    note_map(project, "The last drawing of the map failed. The disk is <full>.")
    assert "The disk is &lt;full&gt;." in web.get("/projects/1/fragments/map").text
    draw_by_hand(project)
    assert "The map is drawn." in web.get("/projects/1/fragments/map").text


def test_a_folder_that_cannot_be_written_is_said(web, project, monkeypatch):
    def refuse(_):
        raise ModelError("The map cannot be drawn.", "Free some space.")

    monkeypatch.setattr(page, "ask_for_map", refuse)
    assert "The map cannot be drawn. Free some space." in web.get("/projects/1/map").text


def test_the_page_leads_to_the_tables_and_says_when_it_is_older_than_the_queue(web, project, drawn, stores):
    text = web.get("/projects/1/map").text
    assert_sound(text)
    assert "map.js" in text
    assert 'href="/projects/1/map/table"' in text
    assert "follow the last round" not in text
    stores.projects.change(1, published_version="another")
    assert "follow the last round" in web.get("/projects/1/map").text


def test_the_script_gets_all_points_once_and_then_whether_they_changed(web, drawn, stores):
    answer = web.get("/projects/1/map/points")
    assert answer.headers["cache-control"] == "private, no-cache"
    head, (tasks, places, scores, near, *codes) = read(answer.content)
    np.testing.assert_array_equal(tasks, np.arange(1, 101))
    np.testing.assert_array_equal(places.reshape(-1, 2), drawn.points)
    assert scores[98] == 99
    assert near.min() >= 1
    labels = head["columns"][0]
    assert (labels["name"], labels["names"], labels["pinned"]) == ("label", ["no label", "b", "a"], 1)
    assert codes[0][98] == 1
    mark = {"If-None-Match": answer.headers["etag"]}
    unchanged = web.get("/projects/1/map/points", headers=mark)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    stores.labels.replace(1, [])
    assert web.get("/projects/1/map/points", headers=mark).status_code == 200


def test_without_a_map_there_are_no_points(web, project):
    assert web.get("/projects/1/map/points").status_code == 404


def test_cases_of_a_selection_are_shown_in_its_order_to_be_tagged_together(web, drawn, stores):
    stores.page_tags.set(1, [60], 1, by="ada")
    text = web.get("/projects/1/fragments/map/cases?task=60&task=99&task=6&task=4000&task=60").text
    assert [text.index(f'data-case="{task}"') for task in (60, 99, 6)] == sorted(
        text.index(f'data-case="{task}"') for task in (60, 99, 6)
    )
    assert text.count("data-case=") == text.count('type="checkbox" name="task"') == 3
    assert '<span class="mark plain">more like this</span>' in text
    assert "<b>b</b>, labelled past the queue" in text
    assert "Neither labelled nor queued. Score 0.60" in " ".join(text.replace("\n", " ").split())
    assert 'formaction="/projects/1/second-look"' in text


def test_one_case_that_is_looked_at_closely_has_its_own_buttons(web, drawn):
    text = web.get("/projects/1/fragments/map/cases?task=60&alone=true").text
    assert 'class="tag" data-task="60"' in text
    assert "bulk" not in text
    assert 'class="tag"' not in web.get("/projects/1/fragments/map/cases?task=99&alone=true").text


@pytest.mark.parametrize("query", ["", "task=x", "task=-1", "task=0", "&".join(["task=1"] * 49), f"task={2**63}"])
def test_a_selection_that_cannot_be_is_refused(web, drawn, query):
    assert web.get(f"/projects/1/fragments/map/cases?{query}").status_code in {404, 422}


def test_tables_show_neighbourhoods_and_tasks_filtered_and_page_by_page(web, drawn):
    text = web.get("/projects/1/map/table").text
    assert_sound(text)
    assert "100 of 100 tasks" in text
    assert "10 neighbourhoods" in text
    assert text.count('type="checkbox" name="task"') == 48
    assert "Page 1 of 3" in text
    assert 'href="/projects/1/map/table?page=2"' in text
    named = web.get("/projects/1/map/table?label=b&sort=score").text
    assert_sound(named)
    assert "4 of 100 tasks" in named
    assert named.index('data-case="99"') < named.index('data-case="1"')
    assert 'value="/projects/1/map/table?label=b&amp;sort=score"' in named
    nothing = web.get("/projects/1/map/table?label=<script>").text
    assert_sound(nothing)
    assert "No task is like that" in nothing
    assert_sound(web.get("/projects/1/map/table?near=1&page=900").text)


def test_tags_from_the_tables_lead_back_to_them(web, drawn, stores):
    back = "/map/table?label=no+label&page=2"
    form = {"token": token(web, "/projects/1/map/table"), "task": "60", "tag": "more", "back": f"/projects/1{back}"}
    assert web.post("/projects/1/tags", data=form).headers["location"] == f"/projects/1{back}"
    assert stores.page_tags.open(1)[60].steer == 1


def test_the_selection_is_a_file_without_patients(web, drawn, stores, wakes):
    uris = {task: f"/data/local-files/?d={task}.png" for task in range(1, 101)}
    groups = dict.fromkeys(range(1, 101), "salted-hash")
    stores.images.synchronise(1, uris, complete=True, groups=groups, sites=dict.fromkeys(range(1, 101), "=north"))
    form = {"token": token(web, "/projects/1/map"), "tasks": f"99 6 60 x 4000 {'9' * 5000}"}
    answer = web.post("/projects/1/map/selection.csv", data=form)
    assert "project-1-map.csv" in answer.headers["content-disposition"]
    assert answer.text.splitlines()[0] == "task,score,neighbourhood,label,why,site"
    rows = {line.split(",")[0]: line for line in answer.text.splitlines()[1:]}
    assert list(rows) == ["6", "60", "99"]
    assert rows["99"].endswith(",b,labelled past the queue,'=north")
    assert "hash" not in answer.text
    assert "patient" not in answer.text
    assert len(web.post("/projects/1/map/selection.csv", data=form | {"tasks": ""}).text.splitlines()) == 101


def test_a_file_is_given_to_our_own_page_alone(web, drawn):
    assert web.post("/projects/1/map/selection.csv", data={"tasks": "1"}).status_code == 403


@pytest.mark.parametrize("path", ["map", "map/points", "map/table", "fragments/map", "fragments/map/cases?task=1"])
def test_the_project_must_be_served(web, filled, path):
    assert web.get(f"/projects/7/{path}").status_code == 404


def test_what_readers_and_hospitals_wrote_is_escaped(web, drawn, stores):
    evil = "<script>alert(1)</script>"
    stores.labels.replace(1, [TaskLabel(project_id=1, task_id=60, label=evil, labelled_at=1.0)])
    uris = {task: f"/data/local-files/?d={task}.png" for task in range(1, 101)}
    stores.images.synchronise(1, uris, complete=True, sites=dict.fromkeys(uris, evil))
    for path in ("map", "map/table", "map/table?label=%3Cscript%3Ealert", "fragments/map/cases?task=60"):
        text = web.get(f"/projects/1/{path}").text
        assert evil not in text
        assert "<script>alert" not in text
    assert f"<b>{escape(evil)}</b>" in text
    answer = web.get("/projects/1/map/points")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_map_that_was_changed_on_disk_is_said_and_drawn_anew(web, project, drawn):
    file = next(project.map_folder.glob("map-*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    assert "The map was changed on disk." in web.get("/projects/1/map/table").text
    assert "map.js" not in web.get("/projects/1/map").text
    assert web.get("/projects/1/map/points").status_code == 404


def test_a_second_reader_is_asked_for_labels_alone(web, drawn, stores):
    form = {"token": token(web, "/projects/1/map/table"), "task": ["60", "7"]}
    assert web.post("/projects/1/second-look", data=form).headers["location"] == "/projects/1/second-look"
    assert "these have no class" in web.get("/projects/1/second-look").text
    assert stores.second_readings.all(1) == {}
