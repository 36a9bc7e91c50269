"""A project's backbone is fine-tuned beside the rounds, and answers only where held-out labels say so."""

import logging
import subprocess
import sys
from dataclasses import asdict
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from clinical_backend.errors import ImageError, ModelError
from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.learner.backbones.preprocessing import power_normalised
from clinical_backend.learner.classifier.linear import fit
from clinical_backend.learner.finetuning.network import FinetunedNetwork, FinetuningReport
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service.predict import predict
from clinical_backend.service.status import read_status
from clinical_backend.training.backbone_replacement import serve
from clinical_backend.training.finetuning import finetune_project, finetuning_is_due, finetuning_state
from clinical_backend.workspace import finetuned as finetuned_prediction
from clinical_backend.workspace.finetuning_record import read_record
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import picture, reopened

LABELS = 60
RED, DARK = picture(222, 60), picture(20, 61)


def uri(number):
    return picture(200 + number % 50 if number % 2 else number % 50, number)


def annotate(studio, numbers):
    """Label tasks by their colour, every tenth wrongly, so that a head cannot be sure."""
    for number in numbers:
        studio.annotate(number, "red" if (number % 2 == 1) != (number % 10 == 0) else "dark")


@pytest.fixture
def fake_client():
    return FakeLabelStudio({number: uri(number) for number in range(1, 91)})


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio with 60 labelled images and 30 more, after a round."""
    workspace.settings = workspace.settings.model_copy(
        update={
            "image_size": 32,
            "adaptation": "off",
            "queue_size": 10,
            "backend_url": "http://backend",
            "training": "finetune",
            "preannotate": "all",
        }
    )
    annotate(fake_client, range(1, LABELS + 1))
    reconcile(workspace.project(1), look=True)
    return fake_client


def mean_colours():
    """Return a network in ONNX whose features are mean colours."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 32, 32, 3])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["features"], keepdims=0),
    ]
    graph = helper.make_graph(nodes, "means", [pixels], [features], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.ModelProto.SerializeToString(model)


class Trainer:
    """Stands in for the training, which takes minutes.

    Its network says "dark" of what is red, so that one sees who answers. How sure it is of the true class of
    labels held out, ``skill`` says.
    """

    def __init__(self):
        self.skill = 9.0
        self.calls = []
        self.fault = None

    def __call__(self, images, labels, classes, spec, options, *, held_out, progress, warm_start):
        given = {"images": images, "labels": labels, "classes": classes, "held_out": held_out, "warm_start": warm_start}
        self.calls.append(given | asdict(options))
        progress(0.4, "Fine-tuning.")
        if self.fault is not None:
            raise self.fault
        features = power_normalised(images.mean(axis=(1, 2), dtype=np.float32))
        report = FinetuningReport(2, 5, len(labels), 0, 1, 1.0, 2.0, 0.1, 0.1, 0.2, 1.0, 1.0, False, "cpu", 0)
        return FinetunedNetwork(
            architecture=spec.architecture,
            image_size=32,
            backbone=spec.key,
            dimension=3,
            head=fit(features, 1 - labels, classes),
            report=report,
            versions={},
            weights=f"weights {len(self.calls)}".encode(),
            model=mean_colours(),
            held_out_logits=self.skill * np.eye(2, dtype=np.float32)[labels[held_out]],
        )


@pytest.fixture
def trainer(monkeypatch):
    made = Trainer()
    module = ModuleType("clinical_backend.learner.finetuning.training")  # the real one takes seconds to import
    module.finetune = made
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


def answers(workspace, *uris):
    asked = [{"model_version": "another"}]  # "Retrieve predictions" of tasks that have some
    tasks = [PredictTask(id=900 + n, data={"image": it}, predictions=asked) for n, it in enumerate(uris)]
    items = predict(workspace.project(1), CONFIG, tasks)
    return [choice for item in items for region in item.result for choice in region["value"]["choices"]]


def grow(workspace, studio, number=12):
    """Label so many more images and run a round."""
    first = len(studio.answers) + 1
    annotate(studio, range(first, first + number))
    workspace.stores.projects.request_round(1, "labels", delay=0)
    reconcile(workspace.project(1), look=True)


def test_by_default_nothing_is_due_and_the_head_answers(workspace, studio, trainer):
    workspace.settings = workspace.settings.model_copy(update={"training": "head"})
    assert not finetuning_is_due(workspace.project(1))
    assert finetuning_state(workspace.project(1)) is None
    with pytest.raises(ModelError, match="TRAINING=finetune"):
        finetune_project(workspace.project(1))
    assert answers(workspace, RED, DARK) == ["red", "dark"]
    assert trainer.calls == []


def test_rounds_jobs_and_predictions_do_without_torch():
    program = (
        "import sys, clinical_backend.service.backend\n"
        "import clinical_backend.jobs.local_worker, clinical_backend.rounds.round\n"
        "raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_project_may_ask_for_it_by_itself(workspace, studio, trainer):
    workspace.settings = workspace.settings.model_copy(update={"training": "head"})
    workspace.stores.projects.register(1, {"training": "finetune", "finetuning_seconds": 7, "finetuning_blocks": "all"})
    assert finetuning_is_due(workspace.project(1))
    finetune_project(workspace.project(1))
    assert (trainer.calls[0]["seconds"], trainer.calls[0]["blocks"]) == (7.0, None)
    assert answers(workspace, RED) == ["dark"]
    workspace.stores.projects.register(1, {"training": "head"})
    assert answers(workspace, RED) == ["red"]


def test_it_waits_for_labels_enough_and_says_for_which(workspace, studio):
    assert finetuning_is_due(workspace.project(1))
    for task in range(41, 61):
        del studio.answers[task]
    reconcile(workspace.project(1), look=True)
    assert not finetuning_is_due(workspace.project(1))
    assert finetuning_state(workspace.project(1)) == "Fine-tuning waits for 50 labelled images; there are 40."
    for task in range(1, 61):
        studio.annotate(task, "red" if task < 10 else "dark")
    workspace.stores.projects.request_round(1, "labels", delay=0)
    reconcile(workspace.project(1), look=True)
    assert not finetuning_is_due(workspace.project(1))
    assert "10 labels of 'red', to be judged by; there are 9" in finetuning_state(workspace.project(1))


def test_what_is_better_answers_on_demand_and_in_the_queue(workspace, studio, trainer):
    assert answers(workspace, RED, DARK) == ["red", "dark"]
    message = finetune_project(workspace.project(1))
    assert "better, so it answers" in message
    assert message in finetuning_state(workspace.project(1))
    assert message in read_status(workspace.project(1)).finetuning
    assert not finetuning_is_due(workspace.project(1))
    assert answers(workspace, RED, DARK) == ["dark", "red"]
    assert workspace.stores.projects.get(1).request == "the backbone was fine-tuned on the labels"
    reconcile(workspace.project(1), look=True)
    served = [item for item in studio.predictions[studio.model_version] if item["result"]]
    assert len(served) == 9  # and a random draw, on which nothing is ticked
    assert {item["task"] % 2: item["result"][0]["value"]["choices"] for item in served} == {0: ["red"], 1: ["dark"]}
    assert "for 10 of 10 tasks" in workspace.stores.rounds.latest(1).report.preannotations


def test_the_queue_does_not_wait_for_a_slow_network(workspace, studio, trainer, monkeypatch):
    monkeypatch.setattr(finetuned_prediction, "_QUEUE_SECONDS", -1.0)
    trainer.skill = 9.0
    finetune_project(workspace.project(1))
    workspace.project(1).finetuned().probabilities.store._path.unlink()
    reconcile(workspace.project(1), look=True)
    served = [item for item in studio.predictions[studio.model_version] if item["result"]]
    assert len(served) == 9  # and a random draw, on which nothing is ticked
    assert {item["task"] % 2: item["result"][0]["value"]["choices"] for item in served} == {0: ["dark"], 1: ["red"]}
    assert "for 0 of 10 tasks" in workspace.stores.rounds.latest(1).report.preannotations


def test_an_image_that_is_known_is_not_fetched_again(workspace, studio, trainer, monkeypatch):
    finetune_project(workspace.project(1))
    task = PredictTask(id=90, data={"image": uri(90)})
    (first,) = predict(workspace.project(1), CONFIG, [task])

    def gone(*_, **_named):
        raise ImageError("It is gone.", "Bring it back.")

    monkeypatch.setattr(workspace.source, "fetch", gone)
    assert predict(workspace.project(1), CONFIG, [task]) == [first]


def test_what_is_no_better_is_not_used_and_not_kept(workspace, studio, trainer):
    trainer.skill = 0.0
    message = finetune_project(workspace.project(1))
    assert "the head answers" in message
    assert answers(workspace, RED, DARK) == ["red", "dark"]
    assert not finetuning_is_due(workspace.project(1))
    assert not [path for path in workspace.project(1).finetuning_folder.iterdir() if path.is_dir()]


def test_a_fifth_more_labels_make_the_next_due_which_goes_on_from_the_last(workspace, studio, trainer):
    finetune_project(workspace.project(1))
    first = workspace.project(1).finetuned().name
    grow(workspace, studio, 11)
    assert not finetuning_is_due(workspace.project(1))
    grow(workspace, studio, 1)
    assert finetuning_is_due(workspace.project(1))
    finetune_project(workspace.project(1))
    one, two = trainer.calls
    assert one["warm_start"] is None
    assert two["warm_start"].weights == b"weights 1"
    assert np.array_equal(two["held_out"][:LABELS], one["held_out"])
    assert two["held_out"].sum() > one["held_out"].sum()
    assert workspace.project(1).finetuned().name != first
    assert [path.name for path in workspace.project(1).finetuning_folder.iterdir() if path.is_dir()] == [
        workspace.project(1).finetuned().name
    ]


def test_the_head_answers_again_when_it_has_caught_up(workspace, studio, trainer):
    finetune_project(workspace.project(1))
    grow(workspace, studio)
    trainer.skill = 0.0
    finetune_project(workspace.project(1))
    assert answers(workspace, RED) == ["red"]


def test_one_that_is_killed_leaves_the_last_in_use_and_is_due_again(workspace, studio, trainer):
    finetune_project(workspace.project(1))
    grow(workspace, studio)
    trainer.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        finetune_project(workspace.project(1))
    assert "40%" in finetuning_state(workspace.project(1))
    assert answers(workspace, RED) == ["dark"]
    assert finetuning_is_due(workspace.project(1))


def test_images_that_cannot_be_read_are_left_out_with_a_note(workspace, studio, trainer, monkeypatch):
    fetch = workspace.source.fetch

    def broken(address, task_id=None, **_named):
        if task_id in {3, 4}:
            raise ImageError("It is gone.", "Bring it back.")
        return b"no image" if task_id == 5 else fetch(address, task_id)

    monkeypatch.setattr(workspace.source, "fetch", broken)
    message = finetune_project(workspace.project(1))
    assert "3 labelled images cannot be read" in message
    assert trainer.calls[0]["images"].shape == (LABELS - 3, 32, 32, 3)
    assert not finetuning_is_due(workspace.project(1))


def test_when_none_can_be_read_what_was_in_use_stays(workspace, studio, trainer, monkeypatch):
    finetune_project(workspace.project(1))
    grow(workspace, studio)

    def gone(*_, **_named):
        raise ImageError("It is gone.", "Bring it back.")

    with monkeypatch.context() as patch:
        patch.setattr(workspace.source, "fetch", gone)
        assert "72 labelled images cannot be read" in finetune_project(workspace.project(1))
    assert answers(workspace, RED) == ["dark"]
    assert not finetuning_is_due(workspace.project(1))


def test_a_tampered_network_leaves_the_head_which_says_so(workspace, studio, trainer, caplog):
    finetune_project(workspace.project(1))
    (model,) = workspace.project(1).finetuning_folder.glob("*/*.onnx")
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    again = reopened(workspace)
    with caplog.at_level(logging.WARNING):
        assert answers(again, RED) == ["red"]
    assert "goes on with the head" in caplog.text
    assert finetuning_is_due(again.project(1))
    finetune_project(again.project(1))
    assert answers(again, RED) == ["dark"]


def test_a_record_that_cannot_be_read_leaves_the_head(workspace, studio, trainer):
    finetune_project(workspace.project(1))
    (workspace.project(1).finetuning_folder / "record.json").write_text("{")
    assert read_record(workspace.project(1).finetuning_folder) is None
    assert answers(workspace, RED) == ["red"]
    assert finetuning_is_due(workspace.project(1))


def test_a_class_that_it_never_learnt_leaves_the_head(workspace, studio, trainer):
    studio.config = studio.config.replace('<Choice value="red"/>', '<Choice value="red"/><Choice value="new"/>')
    finetune_project(workspace.project(1))
    assert answers(workspace, RED) == ["dark"]
    studio.annotate(62, "new")
    workspace.stores.projects.request_round(1, "labels", delay=0)
    reconcile(workspace.project(1), look=True)
    assert answers(workspace, RED) == ["red"]


def test_once_a_task_has_several_images_the_head_answers_for_all(workspace, studio, trainer):
    finetune_project(workspace.project(1))
    assert answers(workspace, RED, DARK) == ["dark", "red"]
    studio.data[90] = {"image": [uri(90), uri(89)]}
    workspace.stores.projects.change(1, listed_at=0.0)
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.studies.any(1)
    assert answers(workspace, RED, DARK) == ["red", "dark"]
    assert workspace.stores.rounds.latest(1).report.preannotations == "head"
    assert finetuning_state(workspace.project(1)).endswith("tasks of this project have several: the head answers.")


def test_another_backbone_starts_anew(workspace, studio, trainer):
    finetune_project(workspace.project(1))
    workspace.settings = workspace.settings.model_copy(update={"image_size": 64})
    again = reopened(workspace).project(1)
    assert again.finetuned() is not None, "the earlier backbone goes on until the other one has taken its place"
    serve(again, "somebody says so")
    other = again.workspace.configured.project(1)
    assert other.finetuned() is None
    assert finetuning_is_due(other)


def test_two_tasks_with_one_image_are_one_example(workspace, studio, trainer):
    studio.uris[91] = uri(1)
    studio.annotate(91, "dark")
    grow(workspace, studio, 0)
    finetune_project(workspace.project(1))
    assert len(trainer.calls[0]["labels"]) == LABELS
