"""Data sets as others load them: by the libraries themselves, with nothing in them that was not asked for."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from io import BytesIO
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from clinical_backend.errors import InvalidArgumentError, LabelStudioUnavailableError, ProjectBusyError, StorageError
from clinical_backend.handover import dataset_export
from clinical_backend.handover.dataset_export import export_dataset
from clinical_backend.handover.delivery import delivered
from clinical_backend.handover.export_options import ExportOptions
from clinical_backend.handover.tables import stored_table
from clinical_backend.labelstudio.labeling.labels import read_labels
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.labelstudio.resources import AnnotatedTask, Annotation
from clinical_backend.origins import Draw
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.workspace.lock import leased_project
from clinical_backend.workspace.project_options import store_options
from tests.disks import full_disk
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import picture

TASKS = range(1, 121)
PATIENTS = {task: f"Mustermann {(task + 1) // 2}" for task in TASKS}


def is_red(task):
    return task % 6 == 0


@pytest.fixture
def fake_client():
    generator = np.random.default_rng(0)
    shades = {task: tuple(generator.integers(0, 90, 3).tolist()) for task in TASKS}
    fake = FakeLabelStudio(
        {task: picture(red + 150 * is_red(task), green, blue) for task, (red, green, blue) in shades.items()}
    )
    fake.data = {
        task: {"patient": PATIENTS[task], "site": "North" if task % 4 else "=South", "age": task, "note": "secret"}
        for task in TASKS
    }
    return fake


@pytest.fixture
def project(workspace, fake_client):
    """Return a project after a round, of whose queue of 60 tasks 30 were drawn at random."""
    project = workspace.project(1)
    store_options(project, ProjectOptions(queue_size=60, audit_share=0.5, group_field="patient", group_cap=2))
    answer_a_round(project, fake_client)
    return project


def answer_a_round(project, fake_client):
    project.stores.projects.request_round(1, "a test", delay=0.0)
    reconcile(project, look=False)
    for task in fake_client.queue():
        if task not in fake_client.answers:
            fake_client.annotate(task, "red" if is_red(task) else "dark")


def export(project, folder, form="csv", **chosen):
    return export_dataset(project, ExportOptions(form, **chosen), folder, command="clinical export")


def table(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def everything(folder):
    return (
        b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
        + str(sorted(folder.rglob("*"))).encode()
    )


def test_a_table_says_of_each_label_how_it_came_about_and_weighs_it(project, tmp_path, fake_client):
    answer_a_round(project, fake_client)
    told = []
    done = export_dataset(
        project, ExportOptions("csv"), tmp_path / "out", command="c", show=lambda *numbers: told.append(numbers)
    )
    rows = table(tmp_path / "out/labels.csv")
    assert done.records == len(rows) == len(fake_client.answers)
    assert told[-1] == (len(rows), len(rows))
    assert {int(row["task"]): row["label"] for row in rows} == {
        task: "red" if is_red(task) else "dark" for task in fake_client.answers
    }
    draws = Counter(row["draw"] for row in rows)
    assert draws[Draw.AUDIT.value] == 60
    assert {row["origin"] for row in rows} == {"queue"}
    assert {row["round"] for row in rows} == {"1", "2"}
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(120)
    weights = {draw: [float(row["weight"]) for row in rows if row["draw"] == draw] for draw in draws}
    assert min(weights["audit"]) > 1
    assert max(weights["diverse"]) < 1
    assert done.missing_draws == 0


def test_each_label_has_the_version_of_the_prediction_that_its_reader_was_shown(project, tmp_path, fake_client):
    store_options(project, ProjectOptions(queue_size=60, audit_share=0.5, preannotate="all"))
    answer_a_round(project, fake_client)
    version = project.stores.rounds.published(1).version
    export(project, tmp_path / "out")
    rows = table(tmp_path / "out/labels.csv")
    sought = {row["task"] for row in rows if row["round"] == "2" and row["draw"] != Draw.AUDIT.value}
    assert sought
    assert {row["task"]: row["shown_prediction"] for row in rows} == {
        row["task"]: version if row["task"] in sought else "none" for row in rows
    }
    datasheet = (tmp_path / "out/datasheet.md").read_text()
    assert f"| a class that the model predicted | {len(sought)} |" in datasheet
    assert f"| nothing: a blank form | {len(rows) - len(sought)} |" in datasheet
    export(project, tmp_path / "json", "label-studio", images="reference")
    metas = [one["meta"] for one in json.loads((tmp_path / "json/tasks.json").read_text())]
    assert {meta["shown_prediction"] for meta in metas} == {version, "none"}


def test_no_patient_reader_or_field_is_named_that_was_not_ticked(project, tmp_path):
    for form, images in (
        ("csv", "none"),
        ("coco", "reference"),
        ("imagefolder", "copy"),
        ("label-studio", "reference"),
    ):
        export(project, tmp_path / form, form, images=images, fields=("site",))
        content = everything(tmp_path / form)
        assert b"North" in content
        for hidden in (b"Mustermann", b"secret", b"data:image", b'"age"', b'patient":'):
            assert hidden not in content, (form, hidden)
    rows = table(tmp_path / "csv/labels.csv")
    assert {row["data:site"] for row in rows} == {"North", "'=South"}  # a spreadsheet would run the second
    groups = {}
    for row in rows:
        groups.setdefault(row["group"], set()).add(PATIENTS[int(row["task"])])
    assert all(len(patients) == 1 for patients in groups.values())
    assert len(rows[0]["readers"]) == 20


def test_readers_are_named_by_id_where_that_is_asked_for_and_how_far_they_agree(project, tmp_path, fake_client):
    first, second, third = sorted(fake_client.answers)[:3]
    fake_client.read_again(first, "red" if is_red(first) else "dark", reader=7)
    fake_client.read_again(second, "dark" if is_red(second) else "red", reader=8)
    export(project, tmp_path / "out", with_ids=True)
    rows = {int(row["task"]): row for row in table(tmp_path / "out/labels.csv")}
    assert (rows[first]["readers"], rows[first]["agreement"]) == ("1 7", "1.0")
    assert (rows[second]["readers"], rows[second]["agreement"]) == ("1 8", "0.5")
    assert (rows[third]["readers"], rows[third]["agreement"]) == ("1", "")
    assert "Of 2 tasks with two readers or more, all agree on 1." in (tmp_path / "out/datasheet.md").read_text()


def test_readers_who_answer_image_by_image_agree_where_they_say_the_same_of_each(workspace, tmp_path, fake_client):
    fake_client.config = CONFIG.replace('value="$image"', 'valueList="$image"').replace(
        'choice="single"', 'choice="single" perItem="true"'
    )
    fake_client.uris = {task: fake_client.uris[task] for task in (1, 2, 3)}
    fake_client.data = {task: {"image": [picture(task, 9, place) for place in range(3)]} for task in (1, 2, 3)}
    for task in (1, 2, 3):
        fake_client.annotate_images(task, {0: "dark", 1: "dark", 2: "red" if task < 3 else "dark"})
    for task, last in ((1, "red"), (2, "dark")):
        first = fake_client.answers[task][0].result
        said = [*first[:2], first[2] | {"value": {"choices": [last]}}]
        fake_client.read_again(task, "", reader=7, result=said)
    export(workspace.project(1), tmp_path / "out")
    rows = {int(row["task"]): row for row in table(tmp_path / "out/labels.csv")}
    assert (rows[1]["label"], rows[1]["agreement"]) == ("red", "1.0")
    assert (rows[2]["label"], rows[2]["agreement"]) == ("red", "0.5")
    assert (rows[3]["label"], rows[3]["agreement"]) == ("dark", "")


def test_no_patient_and_no_image_is_in_two_splits_and_the_same_again_gives_the_same(project, tmp_path, fake_client):
    answered = sorted(fake_client.answers)
    twins = (answered[0], next(task for task in answered if PATIENTS[task] != PATIENTS[answered[0]]))
    fake_client.uris[twins[1]] = fake_client.uris[twins[0]]
    reconcile(project, look=False)  # which reads the image anew
    done = export(project, tmp_path / "one", test=0.3)
    export(project, tmp_path / "two", test=0.3)
    one, two = ((tmp_path / name / "labels.csv").read_bytes() for name in ("one", "two"))
    assert one == two
    rows = {int(row["task"]): row for row in table(tmp_path / "one/labels.csv")}
    splits = {task: row["split"] for task, row in rows.items()}
    by_patient = {}
    for task, name in splits.items():
        by_patient.setdefault(PATIENTS[task], set()).add(name)
    assert all(len(names) == 1 for names in by_patient.values())
    assert splits[twins[0]] == splits[twins[1]]
    assert set(splits.values()) == {"train", "validation", "test"}
    assert done.splits == Counter(splits.values())
    assert "none" not in done.splits
    red = Counter(name for task, name in splits.items() if rows[task]["label"] == "red")
    assert red["test"] >= 2


def test_a_split_that_parts_tied_tasks_is_not_delivered(project, tmp_path):
    with (
        patch.object(dataset_export, "leaks", lambda *_: [(1, 2)]),
        pytest.raises(StorageError, match="stand in different splits"),
    ):
        export(project, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == list(tmp_path.glob(".*out*")) == []


LOAD = """
import json, sys
import numpy as np
from datasets import load_dataset

loaded = load_dataset("imagefolder", data_dir=sys.argv[1], cache_dir=sys.argv[2])
rows = [
    {"split": name, "darkest": int(np.asarray(row.pop("image"))[..., 0].min()), **row}
    for name, split in loaded.items()
    for row in split
]
print(json.dumps(rows))
"""


def test_hugging_face_loads_the_images_of_each_split_with_what_is_known_of_them(project, tmp_path):
    export(project, tmp_path / "out", "imagefolder", images="copy", fields=("site",))
    offline = {"HF_HOME": str(tmp_path / "home"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", LOAD, str(tmp_path / "out"), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | offline)
    rows = json.loads(done.stdout)
    splits = {int(row["task"]): row["split"] for row in rows}
    assert splits.keys() == {entry.task_id for entry in project.stores.labels.ledger(1)}
    assert set(splits.values()) == {"train", "validation", "test"}
    for row in rows:
        assert row["label"] == ("red" if is_red(row["task"]) else "dark")
        assert (row["darkest"] >= 150) == is_red(row["task"])
    assert sum(row["weight"] for row in rows) == pytest.approx(120)


def test_pycocotools_loads_each_split_with_its_classes(project, tmp_path):
    export(project, tmp_path / "out", "coco", images="copy")
    seen = {}
    for split in ("train", "validation", "test"):
        loaded = COCO(tmp_path / f"out/annotations/{split}.json")
        names = {one["id"]: one["name"] for one in loaded.loadCats(loaded.getCatIds())}
        assert list(names.values()) == ["dark", "red"]
        for image in loaded.loadImgs(loaded.getImgIds()):
            (annotation,) = loaded.loadAnns(loaded.getAnnIds(imgIds=image["id"]))
            task = image["attributes"]["task"]
            seen[task] = names[annotation["category_id"]]
            assert (tmp_path / "out" / image["file_name"]).is_file()
            assert image["attributes"]["weight"] >= 0
    assert seen == {task: "red" if is_red(task) else "dark" for task in seen}
    assert len(seen) == len(project.stores.labels.ledger(1))


def test_label_studio_s_tasks_read_back_as_the_same_labels(project, tmp_path, fake_client):
    export(project, tmp_path / "out", "label-studio", images="copy", fields=("site",))
    tasks = json.loads((tmp_path / "out/tasks.json").read_text())
    read = read_labels(
        read_scheme(CONFIG),
        [
            AnnotatedTask(
                id=task["meta"]["task"], annotations=[Annotation(id=task["meta"]["task"], **task["annotations"][0])]
            )
            for task in tasks
        ],
    )
    assert read.classes == {task: "red" if is_red(task) else "dark" for task in fake_client.answers}
    assert all((tmp_path / "out" / task["data"]["image"]).is_file() for task in tasks)


def test_copies_hold_the_pixels_and_nothing_of_the_file_s_header(project, tmp_path, fake_client):
    task = min(fake_client.answers)
    stream, hidden = BytesIO(), Image.Exif()
    hidden[0x010E] = "Mustermann, Erika"
    Image.new("RGB", (9, 7), (40, 50, 60)).save(stream, "JPEG", exif=hidden, quality=95)
    fake_client.uris[task] = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
    export(project, tmp_path / "out", images="copy")
    copied = (tmp_path / f"out/images/{task}.png").read_bytes()
    assert b"Mustermann" not in copied
    with Image.open(BytesIO(copied)) as image:
        assert image.size == (9, 7)
        assert not image.getexif()
        assert np.abs(np.asarray(image).astype(int) - (40, 50, 60)).max() < 5


def test_an_image_that_cannot_be_read_is_left_out_and_counted(project, tmp_path, fake_client):
    task = min(fake_client.answers)
    fake_client.uris[task] = "data:image/png;base64,AAAA"
    done = export(project, tmp_path / "out", images="copy")
    assert done.missing_images == 1
    assert not (tmp_path / f"out/images/{task}.png").exists()
    assert "1 images could not be read" in (tmp_path / "out/datasheet.md").read_text()


def test_digests_of_all_files_are_right_and_no_other_file_is_there(project, tmp_path):
    done = export(project, tmp_path / "out", "coco", images="copy")
    lines = (tmp_path / "out/SHA256SUMS").read_text().splitlines()
    named = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    files = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert files - {"SHA256SUMS"} == named.keys()
    assert len(named) == done.files
    assert all(hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == d for name, d in named.items())


def test_the_datasheet_says_how_it_was_collected_and_how_far_it_can_be_trusted(project, tmp_path, fake_client):
    fake_client.config = fake_client.config.replace('value="dark"', 'value="dark | ![x](y) `&lt;b&gt;`"')
    for task, answers in fake_client.answers.items():
        if not is_red(task):
            fake_client.annotate(task, "dark | ![x](y) `<b>`", created_at=answers[0].created_at, id=answers[0].id)
    export(project, tmp_path / "out", seed=4)
    text = (tmp_path / "out/datasheet.md").read_text()
    assert "| dark &#124; !&#91;x](y) '&lt;b&gt;' |" in text
    assert "from a queue, drawn at random | 30 |" in text
    assert "| the same patient or study | " in text
    assert "(seed 4)" in text
    share = next(line for line in text.splitlines() if line.startswith("| red |")).split(" | ")
    low, high = (float(end.rstrip(" %|")) for end in share[-1].split(" to "))
    assert low <= 100 / 6 <= high


def test_with_too_few_random_draws_the_weights_are_empty_and_that_is_said(workspace, tmp_path, fake_client):
    project = workspace.project(1)
    reconcile(project, look=False)
    for task in fake_client.queue()[:30]:
        fake_client.annotate(task, "red" if is_red(task) else "dark")
    done = export(project, tmp_path / "out")
    assert done.missing_draws > 0
    rows = table(tmp_path / "out/labels.csv")
    assert {row["weight"] for row in rows} == {""}
    text = (tmp_path / "out/datasheet.md").read_text()
    assert "**The weights are empty:**" in text
    assert "No field names the patient" in text


def test_what_was_answered_since_the_last_round_is_there_and_what_is_gone_is_not(project, tmp_path, fake_client):
    gone = min(fake_client.answers)
    new = next(task for task in TASKS if task not in fake_client.answers)
    fake_client.annotate(new, "dark")
    fake_client.withheld.add(gone)
    done = export(project, tmp_path / "out")
    tasks = {int(row["task"]) for row in table(tmp_path / "out/labels.csv")}
    assert new in tasks
    assert gone not in tasks
    assert done.records == len(tasks)


@pytest.mark.parametrize(
    ("form", "chosen", "problem"),
    [
        ("imagefolder", {}, "--images copy"),
        ("label-studio", {}, "--images reference"),
        ("csv", {"fields": ("sight",)}, "no task has a value in sight"),
        ("csv", {"validation": 0.5, "test": 0.5}, "nothing is left to train on"),
    ],
)
def test_choices_that_cannot_be_met_are_refused_and_leave_nothing(project, tmp_path, form, chosen, problem):
    with pytest.raises(InvalidArgumentError, match=problem):
        export(project, tmp_path / "out", form, **chosen)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_taken_is_refused_before_label_studio_is_asked(project, tmp_path, fake_client):
    (tmp_path / "out").touch()
    fake_client.calls.clear()
    with pytest.raises(InvalidArgumentError, match="something already"):
        export(project, tmp_path / "out")
    assert fake_client.calls == []


def test_a_project_without_a_label_is_refused(workspace, tmp_path):
    with pytest.raises(InvalidArgumentError, match="no label yet"):
        export(workspace.project(1), tmp_path / "out")


def test_while_a_round_runs_nothing_is_exported(project, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_export, "_WAIT_SECONDS", 0.0)
    with leased_project(project), pytest.raises(ProjectBusyError):
        export(project, tmp_path / "out")


def test_where_label_studio_goes_away_or_the_disk_is_full_nothing_is_left(project, tmp_path, fake_client):
    fake_client.faults["tasks_with_answers"] = LabelStudioUnavailableError("It is down.", "Start it.")
    with pytest.raises(LabelStudioUnavailableError):
        export(project, tmp_path / "exports/out")
    fake_client.faults.clear()

    @contextmanager
    def too_small(out):
        with full_disk(2000), delivered(out) as delivery:
            yield delivery

    with patch.object(dataset_export, "delivered", too_small), pytest.raises(StorageError, match="Make room"):
        export(project, tmp_path / "exports/out")
    assert list((tmp_path / "exports").iterdir()) == []
    assert export(project, tmp_path / "exports/out").records


def test_the_page_s_table_has_the_same_labels_and_weights_without_asking_label_studio(project, tmp_path, fake_client):
    export(project, tmp_path / "out")
    fake_client.calls.clear()
    rows = {row["task"]: row for row in csv.DictReader(stored_table(project))}
    assert fake_client.calls == []
    exported = {row["task"]: row for row in table(tmp_path / "out/labels.csv")}
    assert rows.keys() == exported.keys()
    for task, row in rows.items():
        assert row == {name: exported[task][name] for name in row}
