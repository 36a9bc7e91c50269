"""The pages as a browser gets them, over a store that is filled by hand; a real browser is in test_browser.py."""

import re
import time
from contextlib import closing
from html.parser import HTMLParser
from io import BytesIO
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import update
from sqlalchemy.orm import make_transient

from clinical_backend.errors import ClinicalError
from clinical_backend.multilabel import pack
from clinical_backend.origins import AnswerKind, Draw, Origin
from clinical_backend.rounds.drift import change_drift
from clinical_backend.settings import load_settings
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import (
    QueuedTask,
    ReadingState,
    RoundState,
    SecondReading,
    SuspectedLabel,
    TaskLabel,
)
from clinical_backend.storage.stores.outside_exemplars import NewExemplar
from clinical_backend.storage.stores.readings import ReadingValues
from clinical_backend.web.app import make_app
from clinical_backend.workspace.backbone_record import BackboneChoice, BackboneTrial, save_trial
from clinical_backend.workspace.outside_features import as_png
from clinical_backend.workspace.workspace import open_workspace
from tests.storage.started import start_round
from tests.web.noting_runner import Wakes
from tests.web.site_map import FRAGMENTS, PAGES, PAGES_OF_CASES
from tests.web.test_backend_api import CONFIG

BROWSER = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Site": "same-origin"}
REPORT = {
    "acquisition": "quality_diversity",
    "reason": "1 exemplar tagged by readers",
    "target": ["b"],
    "counts": {"pool": 90, "unreadable": 0, "labelled": 10, "queue": 30},
    "seconds": {"sync": 1.0, "embed": 2.0, "fit": 3.0, "rank": 4.0, "publish": 5.0},
    "promotion": {"promoted": False, "reason": "average precision <script>alert(1)</script>"},
    "notes": ["2 images cannot be read."],
    "newest_task": 100,
    "evaluation": {
        "classes": ["a", "b"],
        "confusion": [[40, 2], [1, 7]],
        "recall": [0.952, 0.875],
        "precision": [0.976, None],
        "support": [42, 8],
        "calibration": [{"predicted": 0.05, "rare": 0.04, "count": 40}],
        "method": "Each label by a training that had not seen it (5 folds).",
    },
}


@pytest.fixture
def configuration(tmp_path):
    roots = tmp_path / "files"
    roots.mkdir()
    return load_settings(
        model_dir=tmp_path / "model",
        label_studio_api_key="k",
        label_studio_url="http://label-studio.example",
        local_files_document_root=roots,
    )


@pytest.fixture
def wakes():
    return Wakes()


@pytest.fixture
def workspace(configuration):
    with closing(open_workspace(configuration)) as opened:
        yield opened


@pytest.fixture
def stores(workspace):
    return workspace.stores


@pytest.fixture
def web(configuration, wakes):
    with TestClient(
        make_app(configuration, wakes), headers=BROWSER, raise_server_exceptions=False, follow_redirects=False
    ) as client:
        yield client


@pytest.fixture
def filled(stores):
    """A project with a published queue of 30, one exemplar, one label past the queue."""
    stores.projects.register(1)
    stores.projects.change(
        1, label_config=CONFIG, title="Cells & <b>more</b>", reader_names={"9": "<script>alert(9)</script>"}
    )
    stores.readings.replace(1, [ReadingValues(1, 1, 9, "<script>alert(1)</script>", 2.0, 3.0, AnswerKind.OWN, False)])
    stores.images.synchronise(1, {task: f"/data/local-files/?d={task}.png" for task in range(1, 101)}, complete=True)
    row = start_round(stores, 1)
    draws = [Draw.AUDIT if place % 10 == 5 else Draw.TARGET for place in range(30)]
    stores.rounds.keep_queue(
        [
            QueuedTask(
                round_id=row.id,
                rank=place,
                task_id=place + 1,
                draw=draw,
                predicted="b",
                probability=0.6,
                rare_probability=0.5,
                nearest_exemplar=99,
                similarity=0.8,
            )
            for place, draw in enumerate(draws)
        ]
    )
    stores.rounds.publish(row, RoundReport.from_json(REPORT), 30)
    stores.labels.replace(
        1,
        [
            TaskLabel(project_id=1, task_id=99, label="b", steer=1, labelled_at=1.0),
            TaskLabel(
                project_id=1,
                task_id=1,
                label="a",
                origin=Origin.QUEUE,
                draw=Draw.TARGET,
                round_number=1,
                labelled_at=2.0,
            ),
        ],
    )
    return row


@pytest.fixture
def rich(workspace, stores, filled):
    """The same project with labelled audit draws, a doubtful label and two readers who disagree."""

    def labelled(task, label, draw, **more):
        origin = Origin.QUEUE if draw else Origin.PAST_QUEUE
        return TaskLabel(
            project_id=1,
            task_id=task,
            label=label,
            origin=origin,
            draw=draw,
            round_number=1,
            labelled_at=time.time(),
            **more,
        )

    audit = [labelled(task, "a", Draw.AUDIT) for task in (6, 16, 26)]
    sought = [labelled(task, "b" if task % 2 else "a", Draw.TARGET) for task in (1, 2, 3, 4, 5)]
    disagreed = labelled(50, None, None, answers=[["7", "a"], ["8", "b"]])
    tagged = TaskLabel(project_id=1, task_id=99, label="b", steer=1, labelled_at=1.0, tagged_by="7", tagged_at=2.0)
    stores.labels.replace(1, [tagged, *audit, *sought, disagreed])
    changed = {"found": "Sequential sampling", "evidence": "The sampling was changed to 'Sequential sampling'."}

    def drifted(drift):
        drift.asked, drift.left = {"sampling": changed}, {"predictions shown": "hidden"}
        drift.told, drift.repaired = [(time.time(), "The model version was emptied. Set to the published queue.")], 1

    change_drift(workspace.project(1), drifted)
    doubt = SuspectedLabel(
        project_id=1, task_id=2, label="a", suspicion=0.9, rare_probability=0.8, nearest_exemplar=99, similarity=0.7
    )
    stores.labels.suspect(1, [doubt])
    given = NewExemplar("case.png", "digest", as_png(np.zeros((32, 32, 3), dtype=np.uint8)))
    stores.outside_exemplars.add(1, "a", [given], by="ada", note="atlas, page 12", keeps_pixels=True)


def token(web, path="/projects/1"):
    return re.search(r'name="token" value="([^"]+)"', web.get(path).text).group(1)


def send(web, path, back=None, /, **fields):
    """Send a form as the page has it, and return the page that it leads to."""
    answer = web.post(f"/projects/1/{path}", data={"token": token(web), **fields})
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == f"/projects/1{back or ''}"
    return web.get(answer.headers["location"]).text


class Outline(HTMLParser):
    """Headings, ids and what refers to them."""

    def __init__(self):
        super().__init__()
        self.levels, self.ids, self.refers, self.styled, self.handlers = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if re.fullmatch(r"h\d", tag):
            self.levels.append(int(tag[1]))
        self.ids += [values["id"]] if "id" in values else []
        for name in ("aria-labelledby", "aria-describedby", "for"):
            self.refers += (values.get(name) or "").split()
        self.styled += ["style"] if "style" in values or tag == "style" else []
        self.handlers += [name for name in values if name.startswith("on")]


def assert_sound(text):
    outline = Outline()
    outline.feed(text)
    assert outline.levels.count(1) == 1
    assert outline.levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(outline.levels, outline.levels[1:], strict=False))
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.refers) <= set(outline.ids)
    assert not outline.styled
    assert not outline.handlers
    assert re.findall(r"<script(?! src=\"/static/)", text) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_an_outline_and_nothing_that_its_own_policy_forbids(web, filled, page):
    answer = web.get(f"/projects/1{page}")
    assert answer.status_code == 200
    assert_sound(answer.text)


@pytest.mark.parametrize("page", [*PAGES, *PAGES_OF_CASES])
def test_every_page_with_all_that_it_can_show_keeps_its_outline(web, rich, page):
    answer = web.get(f"/projects/1{page}")
    assert answer.status_code == 200
    assert_sound(answer.text)


def labels_of(stores):
    """Return the labels as rows that can be stored again."""
    rows = list(stores.labels.all(1).values())
    for row in rows:
        make_transient(row)
    return rows


def audit(stores, common, rare):
    """Label so many audit draws of round 1 beside what has a label."""
    known = labels_of(stores)
    classes = ["a"] * common + ["b"] * rare
    drawn = [
        TaskLabel(
            project_id=1,
            task_id=51 + place,
            label=name,
            origin=Origin.QUEUE,
            draw=Draw.AUDIT,
            round_number=1,
            labelled_at=time.time(),
        )
        for place, name in enumerate(classes)
    ]
    stores.labels.replace(1, [*known, *drawn])


def test_below_twenty_audit_labels_the_page_says_what_is_missing_and_no_figure(web, rich):
    text = web.get("/projects/1").text
    assert text.count("17 more audit labels until this can be said") == 4
    assert "Random order is drawn after 17 more audit labels" in text
    assert "×" not in text
    assert "95 %" not in text
    assert 'class="reference"' not in text
    assert 'class="band-area"' not in text
    assert "0 rare of 3" in text


@pytest.mark.parametrize("rare", [0, 1, 2])
def test_with_fewer_than_three_rare_audit_labels_the_page_gives_bounds_alone(web, stores, rich, rare):
    audit(stores, 30 - rare, rare)
    text = web.get("/projects/1").text
    assert re.search(r"<b>at least [\d.]+ ×</b> what random order finds", text)
    assert len(re.findall(r"<dd>at most [\d.,]+%?<span", text)) == 2
    assert "95 % interval" not in text
    assert 'class="reference"' not in text
    assert 'class="band-area"' in text
    assert f"{3 - rare} more rare case" in text


def test_estimates_have_their_interval_and_their_method(web, stores, rich):
    audit(stores, 27, 3)
    text = web.get("/projects/1").text
    assert re.search(r"<b>[\d.]+ ×</b> what random order finds\s+<span class=\"range\">95 % interval [\d.]+ to", text)
    assert re.search(r"<dd>about \d+<span class=\"range\">at most \d+, with 95 % confidence</span>", text)
    assert "How these are estimated" in text
    assert 'class="reference"' in text
    assert "3 rare of 33" in text


def test_the_origins_of_labels_are_shown_unless_all_are_from_queues(web, stores, rich):
    text = web.get("/projects/1").text
    assert re.search(r"from queues</th><td class=\"n\">8</td><td class=\"n\">3</td>", text)
    assert re.search(r"past the queue</th><td class=\"n\">1</td><td class=\"n\">1</td>", text)
    assert "Only labels from queues count" in text
    stores.labels.replace(1, [row for row in labels_of(stores) if row.origin is Origin.QUEUE])
    assert len(stores.labels.all(1)) == 8
    assert "Where the labels came from" not in web.get("/projects/1").text
    imported = {"project_id": 1, "label": "b", "origin": Origin.IMPORTED, "labelled_at": 1.0}
    stores.labels.replace(1, [TaskLabel(task_id=task, **imported) for task in (1, 2)])
    assert re.search(
        r"imported, with no reader of this project</th><td class=\"n\">2</td><td class=\"n\">2</td>",
        web.get("/projects/1").text,
    )


def test_which_features_take_part_is_said_with_its_figures_once_a_network_is_adapted(web, stores, filled):
    decision = "frozen: the adapted network ranks worse (log rank 2.10, 1.90 without it)"
    stores.rounds.publish(start_round(stores, 1), RoundReport(reason="two exemplars", features=decision), 3)
    assert decision not in web.get("/projects/1").text
    stores.projects.change(1, adaptation="A network is adapted to 600 images, in 90 s.")
    assert f"Features: {decision}." in web.get("/projects/1").text


def test_how_it_stands_with_a_changed_backbone_is_said_while_the_settings_name_it(web, workspace, filled):
    said = "efficientnet_lite is not used, and timm:other goes on: worse beyond chance"
    folder = workspace.project(1).serving_folder
    save_trial(folder, BackboneTrial(choice=workspace.choice, state="declined", message=said))
    assert said in web.get("/projects/1").text
    assert said in web.get("/projects/1/fragments/now").text
    save_trial(folder, BackboneTrial(choice=BackboneChoice("timm:other", 64), state="declined", message=said))
    assert said not in web.get("/projects/1").text


def test_the_model_is_shown_by_class_with_the_counts_behind_each_share(web, rich):
    text = web.get("/projects/1/model").text
    assert "5 folds" in text
    assert '95% <span class="hint">40 of 42</span>' in text
    recall, precision = r'47% to 100% <span class="hint">7 of 8</span></td>', "40% to 97% .*7 of 9<"
    assert re.search(rf'<span class="rare">b</span>.*\n.*{recall}<td class="n">{precision}', text)
    assert "It is drawn once 20 tasks" in text


def test_a_score_is_shown_as_no_share_and_a_chance_with_its_interval(web, stores, filled):
    text = web.get("/projects/1/queue").text
    assert 'class="gauge"' not in text
    assert "50%" not in text
    assert "60%" not in text
    assert "of labels it had not learnt, 7 of the 9 that it called so were" in text
    with stores.database.write() as session:
        chances = {"chance": 0.08, "chance_low": 0.03, "chance_high": 0.2}
        session.execute(update(QueuedTask).where(QueuedTask.round_id == filled.id).values(chances))
    text = web.get("/projects/1/queue").text
    shown, audits = text.count("<b>8% (3% to 20%)</b>"), text.count("Drawn at random")
    assert audits
    assert shown == text.count('<li class="task') - audits
    assert text.count("The model says") == shown


def test_the_model_page_shows_what_became_of_stated_chances(web, stores, filled):
    with stores.database.write() as session:
        session.execute(update(QueuedTask).where(QueuedTask.round_id == filled.id).values(chance=0.25))
    queue = [row.task_id for row in stores.rounds.queue(filled.id) if row.draw is Draw.TARGET]
    stores.labels.replace(
        1,
        [
            TaskLabel(
                project_id=1,
                task_id=task,
                label="b" if place < 5 else "a",
                origin=Origin.QUEUE,
                draw=Draw.TARGET,
                round_number=1,
                labelled_at=place,
            )
            for place, task in enumerate(queue)
        ],
    )
    text = web.get("/projects/1/model").text
    assert text.count("<circle") == 1
    assert f'<td class="n">25%</td><td class="n">5 of {len(queue)}</td>' in text


def test_disagreeing_readers_and_taggers_are_named(web, rich):
    text = web.get("/projects/1/exemplars").text
    assert "Readers disagree on 1 task" in text
    assert "reader 8: <b>b</b>" in text
    assert "by reader 7" in text


@pytest.mark.parametrize("page", ["/projects", *[f"/projects/1{page}" for page in PAGES]])
def test_what_others_wrote_is_escaped(web, filled, page):
    text = web.get(page).text
    assert "<script>alert" not in text
    assert "<b>more</b>" not in text
    assert "Cells &amp; &lt;b&gt;more" in text


@pytest.mark.parametrize("path", [*[f"/projects/1{page}" for page in [*PAGES, *FRAGMENTS]], "/projects"])
def test_no_page_is_kept_framed_or_told_to_others(web, filled, path):
    headers = web.get(path).headers
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_project_says_what_comes_next(web, stores, page):
    stores.projects.register(1)
    answer = web.get(f"/projects/1{page}")
    assert answer.status_code == 200
    assert "Project 1" in answer.text


def test_a_person_is_sent_to_the_pages_and_label_studio_gets_its_health(web):
    assert web.get("/").headers["location"] == "/projects"
    assert web.get("/", headers={"Accept": "*/*"}).json()["status"] == "UP"
    assert "No project is connected yet" in web.get("/projects").text


def test_a_project_has_one_address_for_people_and_scripts(web, filled):
    assert web.get("/projects/1", headers={"Accept": "*/*"}).json()["queue_left"] == 30
    assert "Rare cases found" in web.get("/projects/1").text


@pytest.mark.parametrize("path", ["/projects/7", "/projects/7/queue", "/projects/x/queue", "/nowhere", "/projects/0"])
def test_an_unknown_page_is_a_page_that_says_so(web, path):
    answer = web.get(path)
    assert answer.status_code == 404
    assert "This does not work" in answer.text


def test_the_first_page_says_what_is_wrong_and_that_readers_go_on(web, stores, filled):
    row = start_round(stores, 1)
    stores.rounds.fail(row.id, 1, "The disk is full. Free some space.", state=RoundState.FAILED)
    text = web.get("/projects/1/fragments/now").text
    assert "The disk is full. Free some space." in text
    assert "Readers go on with the queue of round 1" in text
    assert "failed" in web.get("/projects/1/model").text


def test_a_running_round_shows_its_stage_progress_and_time_left(web, stores, filled):
    row = start_round(stores, 1, "tasks were imported")
    stores.rounds.progress(row.id, "embed", 25, 100)
    text = web.get("/projects/1/fragments/now").text
    assert "Round 2 is running" in text
    assert "25 of 100" in text
    assert 'value="25"' in text
    assert re.search(r"about \d+ s left", text)
    assert "tasks were imported" in text


def test_the_queue_shows_reasons_audit_draws_and_what_is_open(web, filled):
    text = web.get("/projects/1/queue").text
    assert '<span id="waiting">29</span> tasks wait' in text
    assert 'href="http://label-studio.example/projects/1/data?task=2"' in text
    assert "data?task=1&" not in text
    assert 'data?task=1"' not in text
    assert text.count('<span class="mark">audit draw') == 3 - 1  # the third stands on the second page
    assert "similarity 0.80" in text
    second = web.get("/projects/1/queue?page=2").text
    assert second.count('<li class="task') == 5
    assert 'start="25"' in second


def test_a_page_past_the_end_is_no_fault(web, filled):
    assert web.get("/projects/1/queue?page=99").status_code == 200
    assert web.get("/projects/1/queue?page=0").status_code == 404


def test_the_button_makes_a_round_due_and_the_next_page_says_so_once(web, stores, wakes, filled):
    text = send(web, "start")
    assert "A round is due. It begins in a moment." in text
    assert stores.projects.get(1).request == "a round was asked for on the project's page"
    assert wakes.projects == [1]
    assert "It begins in a moment" not in web.get("/projects/1").text


def answer(web, **fields):
    """Press a button of the question for the rare findings, and return the page that follows."""
    sent = web.post("/projects/1/looked-for", data={"token": token(web), **fields})
    assert sent.status_code == 303
    return web.get(sent.headers["location"]).text


def test_the_first_page_asks_which_finding_is_rare_and_takes_one_click(web, stores, wakes):
    stores.projects.register(1)
    stores.projects.change(1, label_config=CONFIG.replace("</Choices>", '<Choice value="c, &lt;d&gt;"/></Choices>'))
    stores.labels.replace(1, [TaskLabel(project_id=1, task_id=7, label="b", steer=0, labelled_at=1.0)])
    before = web.get("/projects/1").text
    assert "Which finding is rare?" in before
    assert 'name="choose" value="c, &lt;d&gt;"' in before
    assert before.count("/images/7.webp") == 1
    stores.projects.change(1, request=None)
    text = answer(web, choose="c, <d>")
    assert "c, &lt;d&gt; is looked for" in text
    assert "Which finding is rare?" not in text
    assert 'name="drop" value="c, &lt;d&gt;"' in text
    assert stores.projects.get(1).page_options == {"rare_classes": ["c, <d>"]}
    assert stores.projects.get(1).request == "what is looked for was changed"
    assert wakes.projects == [1]
    answer(web, choose="b")
    assert stores.projects.get(1).page_options == {"rare_classes": ["c, <d>", "b"]}
    assert "Not every class can be rare" in answer(web, choose="a")
    answer(web, drop="b")
    assert "Which finding is rare?" in answer(web, drop="c, <d>")
    assert stores.projects.get(1).page_options == {}
    assert "Nothing was changed" in answer(web, choose="unheard of")
    assert web.post("/projects/1/looked-for", data={"choose": "a"}).status_code == 403


def test_of_two_classes_the_chosen_one_is_looked_for_and_not_the_one_that_tags_are_on_too(web, stores, filled):
    assert stores.rounds.published(1).report.target == ("b",)
    stores.projects.change(1, label_config=CONFIG)
    assert "a alone is looked for" in answer(web, choose="a")
    assert stores.projects.get(1).page_options["rare_classes"] == ["a"]
    assert "Not every class can be rare" in answer(web, choose="b")


def test_a_class_that_is_looked_for_by_name_is_not_declined_by_a_page_that_does_not_know_it_yet(web, stores, filled):
    answer(web, choose="a")
    assert "take it away there first" in answer(web, decline="a")
    assert stores.projects.get(1).declined == []


def asking(stores, row, **question):
    asked = {"kind": "look for it too", "name": "a", "tasks": [98], "evidence": "Since <so>."} | question
    stores.rounds.publish(row, RoundReport.from_json(REPORT | {"questions": [asked]}), 30)


def test_yes_keeps_what_tags_had_made_the_target(web, stores, filled):
    stores.projects.change(1, label_config=CONFIG.replace("</Choices>", '<Choice value="c"/></Choices>'))
    asking(stores, filled)
    for page in ("/projects/1", "/projects/1/exemplars"):
        text = web.get(page).text
        assert "Look for a too?" in text
        assert "Since &lt;so&gt;." in text
        assert "/images/98.webp" in text
        assert "data?task=98" in text
    assert "Look for a too?" not in answer(web, choose="a")
    assert stores.projects.get(1).page_options == {"rare_classes": ["b", "a"]}


def test_no_is_not_asked_again_until_settings_undo_it(web, stores, wakes, filled):
    asking(stores, filled)
    stores.projects.change(1, request=None)
    assert "Look for a too?" not in answer(web, decline="a")
    assert stores.projects.get(1).request is None
    assert stores.projects.get(1).declined == ["a"]
    assert 'name="declined" value="a" checked' in web.get("/projects/1/settings").text
    send(web, "settings", "/settings", declined="a", queue_size="40")
    assert stores.projects.get(1).declined == ["a"]
    send(web, "settings", "/settings")
    assert stores.projects.get(1).declined == []
    assert "Look for a too?" in web.get("/projects/1").text


def test_a_tagged_case_that_does_not_steer_is_marked(web, stores, filled):
    tagged = [
        TaskLabel(project_id=1, task_id=task, label=name, steer=1, labelled_at=1.0)
        for task, name in ((99, "b"), (98, "a"), (97, None), (96, pack(["a", "b"])))
    ]
    against = TaskLabel(project_id=1, task_id=95, label="a", steer=-1, labelled_at=1.0)
    stores.labels.replace(1, [*tagged, against])
    text = web.get("/projects/1/exemplars").text
    assert "1 counter-exemplar keeps look-alikes away" in text
    assert '<b class="rare">3</b> exemplars steer the queue' in text
    assert "1 is of a class that is not looked for" in " ".join(text.split())
    assert text.count("(not looked for)") == 1


def test_questions_stand_in_the_status_of_the_project(web, stores, filled):
    asking(stores, filled)
    found = web.get("/projects/1", headers={"Accept": "application/json"}).json()
    assert [(one["asks"], one["tasks"]) for one in found["questions"]] == [("Look for a too?", [98])]
    assert (found["looked_for"], found["not_looked_for"]) == ([], [])


def test_a_chosen_class_that_is_gone_is_said_and_can_be_taken_away(web, stores, filled):
    stores.projects.change(1, page_options={"rare_classes": ["melanoma"]})
    text = web.get("/projects/1").text
    assert "There is no class melanoma" in text
    assert 'name="drop" value="melanoma"' in text
    assert "not in the labeling config any more: melanoma" in web.get("/projects/1/settings").text
    assert "There is no class melanoma" not in answer(web, drop="melanoma")


def test_the_settings_say_how_others_are_tried_on_what_readers_said(web, filled):
    assert "<code>clinical rehearse --project 1</code>" in web.get("/projects/1/settings").text


def test_while_nothing_is_looked_for_cases_are_shown_to_pick_from(web, stores, wakes, workspace):
    stores.projects.register(1)
    stores.projects.change(1, label_config=CONFIG)
    stores.images.synchronise(1, {task: f"/{task}.png" for task in range(1, 101)}, complete=True)
    text = web.get("/projects/1").text
    assert "Or pick cases that show it" in text
    shown = [int(task) for task in re.findall(r'<li data-case="(\d+)"', text)]
    assert (len(shown), shown[0]) == (20, 1)
    data = {"token": token(web), "task": "6", "tag": "more", "back": "/projects/1"}
    answer = web.post("/projects/1/tags", data=data)
    assert answer.headers["location"] == "/projects/1"
    after = web.get("/projects/1").text
    assert "Pick cases that show what you look for" in after
    assert 'value="none" aria-pressed="true">More like this<span class="unseen">: task 6<' in after
    stores.projects.change(1, page_options={"rare_classes": ["b"]})
    assert "wall-title" not in web.get("/projects/1").text


def test_readers_near_the_end_of_the_queue_are_announced(web, stores, wakes, filled):
    size = stores.rounds.published(1).report.counts.queue
    stores.projects.change(1, queue_left=size, request=None, updates=3)
    text = " ".join(web.get("/projects/1").text.split())
    assert "near the end" not in text
    assert "The next round follows after 7 more labels." in text
    stores.projects.change(1, queue_left=1, updates=9)
    text = " ".join(web.get("/projects/1/fragments/now").text.split())
    assert "Readers are near the end of the queue. No round is due" in text
    assert "after 1 more label." in text
    stores.projects.change(1, queue_left=0, request="10 annotations were made or changed")
    text = " ".join(web.get("/projects/1/fragments/now").text.split())
    assert "Readers have come to the end of the queue: the round that is due brings the next one." in text
    assert "more label" not in text
    assert web.get("/projects/1", headers={"Accept": "*/*"}).json()["queue_low"] is True


def test_a_field_of_the_tasks_is_chosen_among_those_that_they_have(web, stores, wakes, filled):
    assert '<input id="group_field"' in web.get("/projects/1/settings").text
    stores.projects.change(1, task_fields=[["patient", 1500, 300], ["<b>", 1, 1], ["site", 9, 50_000]])
    text = web.get("/projects/1/settings").text
    assert '<option value="patient">patient: 1,500 tasks, 300 different values</option>' in text
    assert '<option value="&lt;b&gt;">&lt;b&gt;: 1 task, 1 value</option>' in text
    assert "site: 9 tasks, 50,000 values or more" in text
    text = send(web, "settings", "/settings", group_field="$patient", site_field="gone")
    assert '<option value="$patient" selected>patient: 1,500 tasks' in text
    assert '<option value="gone" selected>gone: no task has it</option>' in text


def test_settings_are_stored_and_shown_with_their_source(web, stores, wakes, filled):
    stores.projects.change(1, options={"queue_size": 50})
    before = web.get("/projects/1/settings").text
    assert 'placeholder="50"' in before
    assert "Now from Label Studio's extra parameters." in before
    text = send(web, "settings", "/settings", audit_share="25", rare_classes=["b"], group_field="patient")
    assert "Saved." in text
    assert stores.projects.get(1).page_options == {
        "audit_share": 0.25,
        "rare_classes": ["b"],
        "group_field": "patient",
    }
    assert stores.projects.get(1).options == {"queue_size": 50}
    assert 'value="b" checked' in text
    assert 'name="audit_share" value="25"' in text
    assert wakes.projects == [1]
    assert "Saved." in send(web, "settings", "/settings")
    assert stores.projects.get(1).page_options == {}


def test_what_is_set_elsewhere_can_be_said_not_to_hold(web, stores, filled):
    assert "_none" not in web.get("/projects/1/settings").text
    stores.projects.change(1, options={"rare_classes": ["b"], "group_field": "patient"})
    assert 'name="group_field_none"' in web.get("/projects/1/settings").text
    text = send(web, "settings", "/settings", rare_classes_none="1", group_field_none="1")
    assert "Saved." in text
    assert text.count('_none" value="1" checked') == 2
    assert stores.projects.get(1).page_options == {"rare_classes": [], "group_field": ""}
    both = {"token": token(web), "group_field": "study", "group_field_none": "1"}
    answer = web.post("/projects/1/settings", data=both)
    assert (answer.status_code, 'id="group_field-problem"' in answer.text) == (422, True)
    send(web, "settings", "/settings")
    assert stores.projects.get(1).page_options == {}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("queue_size", "0", "from 1 to 5000"),
        ("queue_size", "many", "from 1 to 5000"),
        ("audit_share", "95", "from 0 to 90"),
        ("audit_share", "nan", "from 0 to 90"),
        ("audit_share", "a lot", "per cent"),
        ("second_look_share", "41", "from 0 to 40"),
        ("second_look_random_share", "some", "per cent"),
        ("acquisition", "magic", "Input should be"),
        ("group_cap", "-1", "1 or more"),
        ("rare_classes", "no such class", "not in the labeling config"),
        ("rare_classes", ["a", "b"], "Not every class can be rare"),
    ],
)
def test_what_cannot_be_set_is_refused_beside_its_field(web, stores, filled, field, value, told):
    answer = web.post("/projects/1/settings", data={"token": token(web), "group_field": "patient", field: value})
    assert answer.status_code == 422
    assert "Nothing was saved" in answer.text
    assert told in answer.text
    assert f'id="{field}-problem"' in answer.text
    assert 'value="patient"' in answer.text
    assert stores.projects.get(1).page_options == {}


def test_what_is_for_experts_is_folded_away_until_it_is_set(web, stores, filled):
    assert "<details><summary>For experts" in web.get("/projects/1/settings").text
    assert "<details open><summary>For experts" in send(web, "settings", "/settings", acquisition="flqmi")


def test_options_that_the_page_has_no_field_for_stay(web, stores, filled):
    stores.projects.change(1, page_options={"finetuning_seconds": 60.0})
    send(web, "settings", "/settings", queue_size="40")
    assert stores.projects.get(1).page_options == {"finetuning_seconds": 60.0, "queue_size": 40}


def test_a_rollback_that_cannot_be_says_why(web, filled):
    for number in ("1", "x", "99999999999999999999"):
        assert 'role="alert"' in send(web, "rollback", "/model", round=number)


def second_look(web, **fields):
    return send(web, "second-look", "/second-look", **fields)


def test_doubtful_labels_are_listed_with_nothing_ticked(web, rich):
    text = web.get("/projects/1/second-look").text
    assert '<input type="checkbox" name="task" value="2">' in text
    assert " checked" not in text
    assert "Classifiers that had not seen this label call it rare." in text
    assert "No share of the queue is set aside" in text
    assert "No task is ticked" in second_look(web)


def test_a_label_that_was_right_is_listed_no_more_until_it_changes(web, stores, rich):
    text = second_look(web, right="2")
    assert "Task 2 was right as a." in text
    assert 'name="task" value="2"' not in text
    cases = "/readers/cases?show=same"
    assert "Looked at on our own page." in web.get(f"/projects/1{cases}").text
    text = send(web, "second-look", cases, again="2", back=f"/projects/1{cases}")
    assert "Task 2 counts as not looked at" in text
    assert 'name="task" value="2"' in web.get("/projects/1/second-look").text
    assert "No task is ticked" in second_look(web, back="//elsewhere.example/readers/cases")
    assert "has no class" in second_look(web, right="50")


def test_the_lead_has_a_task_read_again_and_takes_it_back(web, stores, wakes, rich):
    text = second_look(web, task=["2", "50", "x", "7777"])
    assert "1 task is put among the next ones" in text
    assert "Comes with the next queue." in text
    assert wakes.projects == [1]
    assert stores.projects.get(1).request == "second readings were asked for"
    assert "asked for, already" in second_look(web, task="2")
    assert 'name="task" value="2"' in second_look(web, take_back="2")
    assert stores.second_readings.all(1) == {}
    assert "Nothing was changed" in second_look(web, take_back="2")


def test_the_most_doubtful_are_sent_to_readers_by_one_press(web, stores, rich):
    doubts = [
        SuspectedLabel(project_id=1, task_id=task, label="a", suspicion=1 - task / 100, rare_probability=0.8)
        for task in range(1, 14)
    ]
    stores.labels.suspect(1, doubts)
    known = [row for row in labels_of(stores) if row.task_id > 13]
    stores.labels.replace(
        1, [*known, *(TaskLabel(project_id=1, task_id=task, label="a", labelled_at=1.0) for task in range(1, 14))]
    )
    first = re.search(r'name="first" value="([\d ]+)"', web.get("/projects/1/second-look").text).group(1)
    assert first == "1 2 3 4 5 6 7 8 9 10"
    assert "10 tasks are put among the next ones" in second_look(web, first=first)
    assert sorted(stores.second_readings.all(1)) == [*range(1, 11)]
    assert "Have the 3 most doubtful read again" in web.get("/projects/1/second-look").text
    assert "No task is ticked" in second_look(web, first="x ²")


def test_a_case_is_read_here_without_its_answer_and_both_are_shown_after(web, stores, rich):
    read = []
    while found := re.search(r'name="task" value="(\d+)"', text := web.get("/projects/1/second-look/read").text):
        assert_sound(text)
        assert re.findall(r'name="answer" value="([^"]+)"', text) == ["a", "b"]
        assert f"data?task={found.group(1)}" not in text
        later = re.search(r'name="task" value="(\d+)"', web.get("/projects/1/second-look/read?passed=1").text)
        answer = {"task": found.group(1), "answer": "b", "passed": "0"}
        assert "Noted." in send(web, "second-look/read", "/second-look/read", **answer)
        read.append((found.group(1), later and later.group(1)))
    assert read[-1] == ("2", None)  # what is not doubted is only read among what is
    assert [after for _, after in read[:-1]] == [task for task, _ in read[1:]]
    assert "Nothing is left to read here" in web.get("/projects/1/second-look/read").text
    assert "still open" in web.get("/projects/1/second-look").text
    text = web.get("/projects/1/readers/cases").text
    assert_sound(text)
    assert "still open</span>" in text
    assert "Read again on our own page" in text
    assert stores.labels.all(1)[2].label == "a"
    for wrong in ({"task": "2", "answer": "c"}, {"task": "7777", "answer": "a"}, {}):
        assert "Nothing was noted" in send(web, "second-look/read", "/second-look/read", **wrong)


TREE = (
    '<View><Image name="image" value="$image"/><Taxonomy name="d" toName="image"><Choice value="opacity">'
    '<Choice value="nodule"/><Choice value="mass"/></Choice></Taxonomy></View>'
)


def test_a_reading_of_findings_implies_what_they_are_a_kind_of_and_no_page_shows_stored_labels(web, stores, filled):
    stores.projects.change(1, label_config=TREE)
    before, after = pack(["nodule", "opacity"]), pack(["mass", "opacity"])
    stores.labels.replace(1, [TaskLabel(project_id=1, task_id=2, label=before, origin=Origin.QUEUE, labelled_at=1.0)])
    answer = {"task": "2", "answer": "findings", "finding": "nodule", "passed": "0"}
    assert "Noted." in send(web, "second-look/read", "/second-look/read", **answer)
    assert stores.second_readings.checks(1)[2].answer == before
    stores.labels.replace(1, [TaskLabel(project_id=1, task_id=2, label=after, origin=Origin.QUEUE, labelled_at=1.0)])
    text = web.get("/projects/1/readers/cases?show=same").text
    assert "changed</span>" in text
    assert "It counts as <b>mass, opacity</b>" in text
    assert "findings&#34;" not in text


def test_the_page_for_reading_opens_while_the_labeling_config_is_refused(web, stores, filled):
    stores.projects.change(1, label_config="<View/>")
    assert web.get("/projects/1/second-look/read").status_code == 200


def test_second_readings_are_shown_with_both_answers_and_agreement_by_what_it_is_of(web, stores, rich):
    def read(task, second, **why):
        answers = [["7", "a"], ["8", second]]
        fields = {"label": "a", "readings": 1, "asked_at": 1.0, "read_at": 2.0, "answers": answers}
        return SecondReading(project_id=1, task_id=task, state=ReadingState.READ, **fields, **why)

    drawn = [read(task, "b" if task < 206 else "a", at_random=True) for task in range(200, 230)]
    doubted = [read(6, "a", suspicion=0.9), read(16, "b", suspicion=0.8)]
    stores.second_readings.keep(1, [*drawn, *doubted])
    text = web.get("/projects/1/second-look").text
    assert_sound(text)
    assert "the same class in 24 of 30 cases read twice" in text
    assert re.search(r"α is <b>-?0\.\d\d</b> \(-?\d\.\d\d to", text)
    assert "Doubtful labels: the same class in 1 of 2 read twice" in text
    assert "1 case read twice with answers that differ" in text
    text = web.get("/projects/1/readers/cases").text
    assert_sound(text)
    assert "<dt>reader 7, first</dt><dd>a</dd>" in text
    assert "<dt>reader 8</dt><dd>b</dd>" in text
    assert text.count(">still open</span>") == 1
    text = web.get("/projects/1/readers/cases?show=same").text
    assert text.count(">the same</span>") == 1
    status = web.get("/projects/1", headers={"Accept": "*/*"}).json()["second_look"]
    assert (status["read"], status["agreement"]["ordinary"]["cases"]) == (32, 30)
    assert status["agreement"]["doubtful"] == {"cases": 2, "disagreements": 1}


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://testserver.evil.example", "http://x:1"])
def test_an_older_browser_is_judged_by_its_origin(web, stores, filled, origin):
    given = token(web)
    del web.headers["sec-fetch-site"]
    assert web.post("/projects/1/start", data={"token": given}, headers={"Origin": origin}).status_code == 403
    assert web.post("/projects/1/rounds", headers={"Origin": origin}).status_code == 403
    assert stores.projects.get(1).request is None
    right = {"Origin": "http://testserver"}
    assert web.post("/projects/1/start", data={"token": given}, headers=right).status_code == 303


def test_a_token_counts_for_its_user_alone(tmp_path):
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k", basic_auth_user="u", basic_auth_pass="p")
    with TestClient(make_app(settings, Wakes()), headers=BROWSER, follow_redirects=False) as web:
        assert web.get("/projects").status_code == 401
        web.auth = ("u", "p")
        web.app.state.backend._stores.projects.register(1)
        with TestClient(make_app(load_settings(model_dir=tmp_path, label_studio_api_key="k"), Wakes())) as other:
            foreign = token(other.__class__(other.app, headers=BROWSER))
        assert web.post("/projects/1/start", data={"token": foreign}).status_code == 403
        assert web.post("/projects/1/start", data={"token": token(web)}).status_code == 303


def test_wrong_credentials_bring_a_browser_a_page_and_no_project(tmp_path):
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k", basic_auth_user="u", basic_auth_pass="p")
    with TestClient(make_app(settings, Wakes()), headers=BROWSER) as web:
        for path in ("/projects", "/projects/1", "/projects/1/images/1.webp", "/projects/1/fragments/now"):
            answer = web.get(path, auth=("u", "wrong"))
            assert answer.status_code == 401
            assert "Load the page again" in answer.text
            assert "www-authenticate" in answer.headers
        assert web.get("/static/style.css").status_code == 200
        assert web.get("/static/../projects").status_code == 401
        assert web.get("/static/%2e%2e/templates/base.html").status_code == 404


def save_image(configuration, name, size=(600, 300)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(configuration.local_files_document_root / name)


def test_an_image_is_made_small_once_and_kept(web, configuration, filled):
    save_image(configuration, "3.png")
    answer = web.get("/projects/1/images/3.webp")
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["cache-control"].startswith("private")
    assert len(answer.content) < 100_000
    (configuration.local_files_document_root / "3.png").unlink()
    assert web.get("/projects/1/images/3.webp").content == answer.content
    assert len([*(configuration.model_dir / "previews").iterdir()]) == 1
    with Image.open(BytesIO(answer.content)) as image:
        assert image.size == (256, 128)


def test_an_image_that_cannot_be_read_leaves_its_reason_in_its_place(web, configuration, filled):
    (configuration.local_files_document_root / "4.png").write_bytes(b"no image")
    answer = web.get("/projects/1/images/4.webp")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "no-store"
    assert "No image" in answer.text


def test_images_of_other_projects_and_tasks_are_not_shown(web, configuration, stores, filled):
    save_image(configuration, "3.png")
    stores.projects.register(2)
    assert web.get("/projects/2/images/3.webp").status_code == 404
    assert web.get("/projects/1/images/101.webp").status_code == 404


def test_a_known_failure_is_not_fetched_again_before_its_time(web, configuration, stores, filled):
    stores.images.failed(1, {5: "The image is <empty>. Upload the file again."})
    save_image(configuration, "5.png")
    answer = web.get("/projects/1/images/5.webp")
    assert "&lt;empty&gt;" in answer.text


@settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["", "/queue", "/images/{}.webp", "/fragments/{}", "/model"]),
    st.text(st.characters(codec="utf-8", exclude_characters="/?#\\"), min_size=1, max_size=12) | st.integers().map(str),
)
def test_whatever_address_is_asked_for_is_no_fault_of_ours(web, path, value):
    shown = quote(value, safe="")
    for address in (f"/projects/{shown}{path.format(1)}", f"/projects/1{path.format(shown)}?page={shown}"):
        assert web.get(address).status_code in {200, 307, 404}


TWO_CONTROLS = CONFIG.replace(
    "<Choices", '<Choices name="quality" toName="image"><Choice value="x"/><Choice value="y"/></Choices><Choices', 1
)


def test_the_control_that_is_learnt_is_shown_and_chosen_among_those_that_can_be(web, stores, filled):
    stores.projects.change(1, label_config=TWO_CONTROLS)
    page = web.get("/projects/1/settings").text
    assert "Readers choose one of 2 classes in &#39;quality&#39;, which is learnt; &#39;d&#39; is not." in page
    assert re.findall(r'<option value="(\w+)"[^>]*>', page.split('name="class_control"')[1].split("</select>")[0]) == [
        "quality",
        "d",
    ]
    refused = web.post("/projects/1/settings", data={"token": token(web), "class_control": "findings"})
    assert (refused.status_code, "no such control any more" in refused.text) == (422, True)
    send(web, "settings", "/settings", class_control="d")
    assert stores.projects.get(1).page_options == {"class_control": "d"}
    assert "is learnt; &#39;quality&#39; is not" in web.get("/projects/1/settings").text


def test_a_control_that_went_can_be_replaced_on_the_page(web, stores, filled):
    stores.projects.change(1, label_config=TWO_CONTROLS, page_options={"class_control": "gone"})
    page = web.get("/projects/1/settings").text
    assert "no control &#39;gone&#39;" in page
    assert '<option value="quality">' in page


def test_unreadable_tasks_are_listed_page_by_page_with_their_reasons_and_as_files(web, stores, filled):
    stores.images.failed(1, dict.fromkeys(range(2, 62), "The image <b>cannot</b> be read."))
    label = TaskLabel(project_id=1, task_id=1, labelled_at=1.0, unread="The answer has no readable class: it is empty.")
    stores.labels.replace(1, [label])
    assert '<a href="/projects/1/unreadable">61 tasks are unreadable</a>' in web.get("/projects/1").text
    first = web.get("/projects/1/unreadable").text
    assert "Image cannot be read: <b>60</b>." in first
    assert "The answer has no readable class: it is empty." in first
    assert "The image &lt;b&gt;cannot&lt;/b&gt; be read." in first
    assert 'href="http://label-studio.example/projects/1/data?task=1"' in first
    assert "Page 1 of 2" in first
    assert web.get("/projects/1/unreadable?page=2").text.count('<th scope="row">') == 11
    assert web.get("/projects/1/unreadable?page=9").status_code == 200
    reply = web.get("/projects/1/unreadable.csv")
    assert (reply.headers["content-type"], len(reply.text.splitlines())) == ("text/csv; charset=utf-8", 62)
    assert [row["task"] for row in web.get("/projects/1/unreadable.json").json()] == list(range(1, 62))
    assert web.get("/projects/7/unreadable.csv").status_code == 404
    assert web.get("/projects/1/unreadable.xml").status_code == 404


def test_text_that_no_database_holds_stops_no_form(web, stores, filled):
    send(web, "settings", "/settings", group_field="case\0id")
    assert stores.projects.get(1).page_options == {"group_field": "case\\u0000id"}


@pytest.mark.parametrize("page", PAGES)
def test_a_wrong_option_takes_no_page_away(web, stores, filled, page):
    stores.projects.change(1, options={"queue_size": "many"})
    assert web.get(f"/projects/1{page}").status_code == 200


def test_labels_are_downloaded_with_their_origins_and_without_a_project_there_are_none(web, filled):
    assert 'href="/projects/1/labels.csv" download' in web.get("/projects/1/fragments/found").text
    reply = web.get("/projects/1/labels.csv")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.text.splitlines() == [
        "task,label,origin,draw,round,readings,shown_prediction,group,sha256,weight",
        "99,b,past_queue,,,1,unknown,,,",
        "1,a,queue,target,1,1,unknown,,,",
    ]
    assert web.get("/projects/7/labels.csv").status_code == 404


def test_what_is_computed_late_may_fail_and_the_rest_of_the_page_stands(web, filled, monkeypatch):
    def refuse(_project):
        raise ClinicalError("Nothing <can> be counted.", "Try again.")

    monkeypatch.setattr("clinical_backend.web.pages.routes.read_findings", refuse)
    answer = web.get("/projects/1", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert "Nothing &lt;can&gt; be counted. Try again." in answer.text
    assert (
        answer.text.index("Start a round") < answer.text.index("counted") < answer.text.index("Backend and connection")
    )


def rows_of_balance(text):
    table = re.search(r'aria-label="Labels by class">(.*?)</table>', text, re.DOTALL)[1]
    rows = re.findall(r'<th scope="row">(.*?)</th>\s*<td class="n">([^<]*)</td>', table)
    return [(re.sub(r"<[^>]+>", "", name), count) for name, count in rows]


def test_the_first_page_compares_the_labels_of_the_classes_with_what_is_looked_for_first(web, stores, rich):
    config = stores.projects.get(1).label_config.replace(
        '<Choice value="b"/>', '<Choice value="b"/><Choice value="z"/>'
    )
    stores.projects.change(1, label_config=config)
    text = web.get("/projects/1", headers={"Accept": "text/html"}).text
    assert_sound(text)
    assert rows_of_balance(text) == [("b looked for", "4"), ("a", "5"), ("z", "0")]


def test_of_many_classes_the_last_are_counted_together(web, stores, rich):
    names = [f"<c>{number}" for number in range(30)]
    labels = [
        TaskLabel(project_id=1, task_id=10 * place + copy + 1, label=name, origin=Origin.QUEUE, labelled_at=1.0)
        for place, name in enumerate(names)
        for copy in range(2 if place < 12 else 1)
    ]
    stores.labels.replace(1, labels)
    text = web.get("/projects/1/fragments/found").text
    rows = rows_of_balance(text)
    assert len(rows) == 13
    assert rows[-1] == ("all others", "20")
    assert "<c>" not in text


def test_without_a_label_there_is_nothing_to_compare(web, stores, filled):
    stores.labels.replace(1, [])
    assert "Labels by class" not in web.get("/projects/1/fragments/found").text


def test_tagged_cases_without_a_class_are_said_to_be_looked_for(web, stores, filled):
    stores.rounds.publish(start_round(stores, 1), RoundReport(counts=Counts(exemplars=2)), 9)
    text = web.get("/projects/1/fragments/target").text
    assert 'what is like <b class="rare">2 tagged cases</b> without a class' in text
    assert "Nothing is looked for by name" not in text


@pytest.mark.parametrize(
    ("left", "size", "said"),
    [(1, 1, "1 of 1 task is left"), (1, 9, "1 of 9 tasks is left"), (9, 9, "9 of 9 tasks are")],
)
def test_one_task_is_left_and_several_are(web, stores, filled, left, size, said):
    report = RoundReport(counts=Counts(queue=size))
    stores.rounds.publish(start_round(stores, 1), report, size, aside=size - left)
    text = re.sub(r"<[^>]+>", "", web.get("/projects/1/fragments/now").text)
    assert said in " ".join(text.split())
