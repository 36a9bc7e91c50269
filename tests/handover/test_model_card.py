"""A model card says how good a model is, as others would compute it, and nothing of patients but what was chosen."""

from __future__ import annotations

import hashlib
import json
import re
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from huggingface_hub import ModelCard as HubCard
from sklearn.metrics import average_precision_score, brier_score_loss, recall_score
from typer.testing import CliRunner

from clinical_backend.cli import app
from clinical_backend.commands import card_cli
from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.handover import model_card
from clinical_backend.handover.document import Code, Document, Heading, Strong, Table, Text, Words
from clinical_backend.handover.markdown import safe
from clinical_backend.handover.model_card import CardOptions, make_card, write_card
from clinical_backend.learner.checkpoint import load_held_out
from clinical_backend.multilabel import pack
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.rounds.audit import read_draws
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.sync import synchronise
from clinical_backend.storage.schema import TaskLabel
from clinical_backend.workspace.project_options import store_options
from tests.handover.test_dataset_export import PATIENTS, TASKS, answer_a_round, fake_client, is_red

__all__ = ["fake_client"]

HOSTILE = "<script>alert(1)</script> | **x** `y` [z](http://evil)\nnext"


def is_woman(task):
    return (task + 1) // 2 % 2 == 0


def contents(folder):
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.fixture
def project(workspace, fake_client):
    """Return a project with a judged model, of whose 80 labels 40 were drawn at random."""
    for task in TASKS:
        fake_client.data[task] |= {"sex": "f" if is_woman(task) else "m", "age": 20 + task % 60}
    project = workspace.project(1)
    store_options(
        project,
        ProjectOptions(queue_size=40, audit_share=0.5, group_field="patient", group_cap=2, rare_classes=("red",)),
    )
    for _ in range(2):
        answer_a_round(project, fake_client)
    project.stores.projects.request_round(1, "a test", delay=0.0)
    reconcile(project, look=False)
    return project


def write(project, folder, *fields, **given):
    write_card(project, CardOptions(fields, command="clinical card", **given), folder)
    return json.loads((folder / "figures.json").read_text())


def test_figures_are_those_that_anybody_computes_from_the_export(project, tmp_path):
    found = write(project, tmp_path / "card", "sex")
    held_out = load_held_out(project.checkpoint_folder(project.row.published_version))
    ledger = {entry.task_id: entry for entry in project.stores.labels.ledger(1)}
    weights = read_draws(project).weights()
    place = list(held_out.reference.classes).index("red")
    tasks = [task for task in held_out.tasks.tolist() if weights.get(task)]
    assert found["weighted"]
    assert found["cases"] == len(held_out.tasks) == len(ledger)
    for of, some in {
        "all": tasks,
        "f": [task for task in tasks if is_woman(task)],
        "m": [task for task in tasks if not is_woman(task)],
    }.items():
        rows = [held_out.tasks.tolist().index(task) for task in some]
        scores = held_out.probabilities[rows].astype(np.float64)
        truth = np.array([ledger[task].label == "red" for task in some])
        w = np.array([weights[task] for task in some])
        given = found["classes"] if of == "all" else found["subgroups"][0]["classes"].get(of)
        one = given[place]
        called = scores.argmax(axis=1) == place
        expected = {
            "average_precision": average_precision_score(truth, scores[:, place], sample_weight=w),
            "sensitivity": recall_score(truth, called, sample_weight=w),
            "specificity": recall_score(truth, called, sample_weight=w, pos_label=False),
            "brier_score": brier_score_loss(truth, scores[:, place], sample_weight=w),
        }
        assert (one["cases"], one["positives"]) == (len(some), truth.sum())
        for name, value in expected.items():
            assert one[name] is None or one[name]["estimate"] == pytest.approx(value, abs=1e-9)
        if of == "all":
            assert all(one[name] for name in expected)


def test_the_same_labels_and_model_give_the_same_card(project, tmp_path):
    write(project, tmp_path / "one", "sex", "age")
    write(project, tmp_path / "two", "sex", "age")
    first, second = (contents(tmp_path / name) for name in ("one", "two"))
    assert first == second
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == [
        "MODEL_CARD.md",
        "SHA256SUMS",
        "figures.json",
        "model-card.html",
    ]


def test_nothing_of_the_tasks_goes_with_it_but_the_fields_that_were_chosen(project, tmp_path):
    write(project, tmp_path / "card", "sex")
    written = contents(tmp_path / "card").decode()
    assert not any(patient in written for patient in PATIENTS.values())
    assert "secret" not in written
    assert "South" not in written
    assert "data:image" not in written
    assert str(tmp_path) not in written


def test_values_that_few_patients_have_are_not_named(project, fake_client, tmp_path):
    fake_client.data = {
        task: data | {"place": "Tiny" if task < 6 else "Town"} for task, data in fake_client.data.items()
    }
    found = write(project, tmp_path / "card", "place")
    assert list(found["subgroups"][0]["classes"]) == ["Town"]
    assert "Tiny" not in contents(tmp_path / "card").decode()


def test_the_card_says_what_it_is_of(project, tmp_path):
    write(project, tmp_path / "card", "sex", intended_use="For *triage* only.\n<b>ours</b>", limits="Not for children.")
    text = (tmp_path / "card" / "MODEL_CARD.md").read_text()
    front, body = HubCard(text).data.to_dict(), text
    assert (front["pipeline_tag"], front["model_version"]) == ("image-classification", project.row.published_version)
    assert "For *triage* only.\n<b>ours</b>" in body
    assert "Not for children." in body
    assert "&lt;b&gt;ours&lt;/b&gt;" in (tmp_path / "card" / "model-card.html").read_text()
    for said in (
        project.row.published_version,
        "from a queue, drawn at random",
        "Readers: 1.",
        "One reader gave all labels",
        "Apache-2.0",
        "by cross-validation",
        "`clinical card`",
        load_held_out(project.checkpoint_folder(project.row.published_version)).reference.classes[0],
    ):
        assert said in body, said
    assert "flatters" not in body
    labelled = [row.labelled_at for row in project.stores.labels.all(1).values() if row.label]
    assert len(re.findall(r"First and last label: (\d{4}-\d\d-\d\d) to (\d{4}-\d\d-\d\d)", body)) == 1
    assert labelled


def test_without_random_draws_no_figure_is_called_an_estimate(project, tmp_path):
    kept = project.stores.labels.all(1)
    rows = [
        TaskLabel(project_id=1, task_id=task, label=one.label, origin="PAST_QUEUE", labelled_at=1.0)
        for task, one in kept.items()
    ]
    project.stores.labels.replace(1, rows)
    card = make_card(project, CardOptions(("sex",)))
    assert card.figures()["weighted"] is False
    text = card.markdown()
    assert "Figures of the labels, which were chosen by the search: flatters" in text
    assert "By sex (of the labels, which were chosen by the search: flatters)" in text
    assert "estimates for the project" not in text
    assert "1970-01-01 to 1970-01-01" in text, "dates are those of the labels"


def set_aside(number, **given):
    labels = tuple("red" if place % 4 == 0 else "dark" for place in range(number))
    red = np.array([0.9 if label == "red" else 0.2 for label in labels], dtype=np.float32)
    told = {
        "classes": ("dark", "red"),
        "several": False,
        "tasks": np.arange(60, 60 + number),
        "labels": labels,
        "probabilities": np.stack([1 - red, red], axis=1),
        "groups": tuple(f"patient {place // 2}" for place in range(number)),
        "inclusion": np.linspace(0.1, 0.5, number),
    }
    return SimpleNamespace(**told | given, size=number + 3, disputed=1, unknown=0, unjudged=2)


def card_of(project, options, test_set):
    with patch.object(model_card, "judged_test_set", return_value=test_set):
        return make_card(project, options)


def test_a_test_set_takes_the_place_of_the_held_out_labels(project):
    card = card_of(project, CardOptions(("sex",)), set_aside(48))
    text, figures = card.markdown(), card.figures()
    assert "48 cases of 51 set aside" in text
    assert "by cross-validation" not in text
    assert "flatters" not in text
    assert set(figures["subgroups"][0]["classes"]) == {"f", "m"}
    red = figures["classes"][1]
    weights = 1 / np.linspace(0.1, 0.5, 48)
    assert red["observed"]["estimate"] == pytest.approx(weights[::4].sum() / weights.sum(), abs=1e-9)
    assert (red["positives"], red["patients"], red["sensitivity"]["estimate"]) == (12, 24, 1)


def test_a_test_set_of_which_hardly_anything_is_read_does_not(project):
    assert "by cross-validation" in card_of(project, CardOptions(), set_aside(9)).markdown()


def test_of_a_test_set_what_readers_left_open_is_not_judged(project):
    labels = tuple(pack(["red"] if place % 2 else [], ["dark"] if place < 4 else []) for place in range(40))
    figures = card_of(project, CardOptions(), set_aside(40, labels=labels, several=True)).figures()
    assert [one["cases"] for one in figures["classes"]] == [36, 40]
    assert figures["threshold"] == 0.5


def test_fields_that_no_task_has_are_refused(project, tmp_path):
    with pytest.raises(InvalidArgumentError, match="no judged task has a value in nonsense"):
        write(project, tmp_path / "card", "sex", "nonsense")
    assert not (tmp_path / "card").exists()


def test_a_project_without_a_judged_model_has_no_card(workspace, fake_client, tmp_path):
    with pytest.raises(ModelError, match="no published model"):
        make_card(workspace.project(1), CardOptions())


def test_labels_that_nobody_looked_at_judge_nothing(project, tmp_path):
    before = make_card(project, CardOptions()).figures()["cases"]
    kept = list(project.stores.labels.all(1).values())
    for place, one in enumerate(kept):
        one.origin = "ACCEPTED" if place < 7 else one.origin
    project.stores.labels.replace(1, kept)
    after = make_card(project, CardOptions())
    assert after.figures()["cases"] == before - 7
    assert after.facts.judged.unseen == 7


def test_labels_since_the_training_judge_it_too_but_for_patients_that_it_knows(project, fake_client):
    before = make_card(project, CardOptions()).facts.judged
    known = {PATIENTS[task] for task in before.tasks.tolist()}
    new = [task for task in TASKS if PATIENTS[task] not in known][:3]
    same = [task for task in TASKS if PATIENTS[task] in known and task not in before.tasks][:1]
    for task in new + same:
        fake_client.annotate(task, "red" if is_red(task) else "dark")
    synchronise(project)
    after = make_card(project, CardOptions()).facts.judged
    assert (after.out_of_fold, after.later) == (before.out_of_fold, len(new))
    assert after.unjudged == len(same)


def test_a_round_whose_draws_cannot_be_judged_gives_no_weights(project, fake_client):
    """Those that are judged then would overstate what was found before."""
    whole = make_card(project, CardOptions()).facts.judged
    for task in fake_client.queue():
        fake_client.annotate(task, "red" if is_red(task) else "dark")
    synchronise(project)
    assert project.stores.labels.ledger(1)[-1].draw is not None
    with patch.object(type(project), "published_model", return_value=None):
        part = make_card(project, CardOptions()).facts.judged
    assert (part.out_of_fold, part.later, part.unjudged) == (80, 0, 40)
    assert part.cases.weights.tolist() == pytest.approx(whole.cases.weights.tolist())
    assert part.cases.weights.sum() == pytest.approx(len(TASKS))


def test_the_exported_file_is_named_by_its_digest_and_one_of_another_model_refused(project, tmp_path):
    file = tmp_path / "model.onnx"
    said = {"project": 1, "model_version": project.row.published_version, "parts": {"classifier": "abc"}}
    file.write_bytes(b"a model")
    with patch("clinical_backend.learner.portable.portable_model.PortableModel.read") as read:
        read.return_value.description = said
        write_card(project, CardOptions(), tmp_path / "card", model=file)
        read.return_value.description = said | {"model_version": "other"}
        with pytest.raises(ModelError, match=r"model\.onnx is of project 1, other"):
            write_card(project, CardOptions(), tmp_path / "more", model=file)
    text = (tmp_path / "card" / "MODEL_CARD.md").read_text()
    assert "exported model model.onnx" in text
    assert f"exported model model.onnx | {hashlib.sha256(b'a model').hexdigest()} |" in text


def test_hostile_names_and_values_stay_text(project, fake_client, tmp_path):
    fake_client.data = {task: data | {"where": HOSTILE} for task, data in fake_client.data.items()}
    write(project, tmp_path / "card", "where")
    page = (tmp_path / "card" / "model-card.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    text = (tmp_path / "card" / "MODEL_CARD.md").read_text()
    assert "<script" not in text
    assert "**x**" not in text
    assert "[z](" not in text


def test_hostile_names_of_classes_stay_text(project):
    aside = set_aside(48, classes=("dark", HOSTILE), labels=("dark", HOSTILE) * 24)
    card = card_of(project, CardOptions(), aside)
    assert card.figures()["classes"][1]["name"] == HOSTILE
    for text in (card.document.html(), card.markdown()):
        assert "<script" not in text
        assert "alert(1)" in text
    rows = [line for line in card.markdown().splitlines() if line.startswith("| &lt;script")]
    assert {line.count("|") for line in rows} == {4, 7, 10}, "of the tables of labels, calibration and figures"


def test_a_document_escapes_all_that_others_wrote_in_both_forms():
    blocks = [
        Heading(HOSTILE),
        Text(HOSTILE, Strong(HOSTILE), Code(HOSTILE)),
        Table((HOSTILE, "n"), [(HOSTILE,), (HOSTILE, HOSTILE)], HOSTILE),
    ]
    document = Document(HOSTILE, blocks)
    assert "<script" not in document.html()
    assert "<script" not in re.sub(r"`[^`]*`", "", document.markdown()), "in code it is no tag"
    assert all(line.count("|") == 3 for line in document.markdown().splitlines() if line.startswith("|"))
    words = Document("x", [Words("# mine\n<i>")])
    assert "# mine\n<i>" in words.markdown()
    assert "&lt;i&gt;" in words.html()


@pytest.mark.parametrize("name", ["__proto__", "~~old~~", "_left_ lung", "a __b__", "\u202egpj.evil\x9b2J"])
def test_no_name_is_shown_as_another_one(name):
    document = Document(name, [Heading(name), Text(name, Strong(name), Code(name)), Table((name, "n"), [(name, 1)])])
    markdown = re.sub(r"`[^`]*`|\*\*", "", document.markdown())
    assert not re.search(r"~|(?<![^\W_])_|_(?![^\W_])", markdown), "as Markdown has it: struck out, or stressed"
    for text in (document.markdown(), document.html()):
        assert not {"\u202e", "\x9b"} & set(text)


def test_names_keep_the_underscores_that_stress_nothing():
    assert safe("left_lung") == "left_lung"


def test_the_page_needs_no_other_file():
    page = Document("x", [Table(("a", "b"), [("c", 1)])]).html()
    assert "<style>" in page
    assert not re.findall(r"(?:src|href|url)\s*[=(]", page)


def test_the_command_writes_the_card_and_says_what_is_missing(project, workspace, tmp_path):
    words = tmp_path / "use.md"
    words.write_text("For triage.")
    out = tmp_path / "somewhere" / "card"
    arguments = ["card", "--project", "1", "--out", str(out), "--field", "sex", "--intended-use", str(words)]
    with (
        patch.object(card_cli, "read_settings"),
        patch.object(card_cli, "opened_workspace") as opened,
        patch.object(card_cli.sys, "argv", ["clinical", *arguments]),
    ):
        opened.return_value.__enter__.return_value = workspace
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "80 judged cases" in re.sub(r"\s+", " ", done.output)
    text = (out / "MODEL_CARD.md").read_text()
    assert "`clinical card --project 1 --out card --field sex --intended-use use.md`" in text
    assert "For triage." in text


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\xff", b"x" * 100_001])
def test_words_that_cannot_be_kept_are_refused(content, tmp_path):
    file = tmp_path / "words"
    file.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="--limits"):
        card_cli._words("--limits", file)
