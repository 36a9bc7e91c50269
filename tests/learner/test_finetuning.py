"""A tiny network learns from labels what its frozen features do not show, and keeps it on disk."""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner import finetuning
from clinical_backend.learner.backbones import parse_backbone
from clinical_backend.learner.classifier import fit
from clinical_backend.learner.finetuned import FinetunedBackbone, load_finetuned, save_finetuned
from clinical_backend.learner.finetuning import finetune
from clinical_backend.learner.networks import build_network
from clinical_backend.learner.trainable import unfreeze
from tests.cuda import needs_cuda, needs_no_cuda

CLASSES = ("disc", "never seen", "ring")
SIZE = 32


def drawn(count, seed=0, rare=None):
    """Discs and rings of any colour, somewhere in the picture; (images, labels)."""
    random = np.random.default_rng(seed)
    labels = np.where(np.arange(count) % 2, 2, 0)
    if rare is not None:
        labels = np.where(np.arange(count) < rare, 2, 0)
    y, x = np.mgrid[:SIZE, :SIZE]
    images = random.integers(0, 60, (count, SIZE, SIZE, 3))
    for image, label in zip(images, labels, strict=True):
        centre, radius = random.uniform(11, 21, 2), random.uniform(6, 9)
        distance = np.hypot(y - centre[0], x - centre[1])
        shape = distance < radius if label == 0 else (distance < radius) & (distance > radius - 3)
        image[shape] += random.integers(60, 190, 3)
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def spec(tiny_name, tmp_path_factory):
    return parse_backbone(tiny_name, image_size=SIZE, folder=tmp_path_factory.mktemp("none"))


@pytest.fixture(scope="module")
def tune(spec, tiny_export):
    """Fine-tune without the export, which takes seconds; tests that read the export make it."""

    def run(images, labels, *, export=False, **options):
        options = {"blocks": None, "seconds": 600.0, "device": "cpu", "cpu_threads": 1, **options}
        with pytest.MonkeyPatch.context() as patch:
            if not export:
                patch.setattr(finetuning, "export_network", lambda *_, **__: tiny_export)
            return finetune(images, labels, CLASSES, spec=spec, progress=lambda *_: None, **options)

    return run


@pytest.fixture(scope="module")
def network(tune):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "_EPOCHS", 16)
        return tune(*drawn(60), export=True)


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetuned")
    save_finetuned(folder, network)
    return folder


def test_it_learns_what_the_frozen_features_do_not_show(folder, tiny):
    images, labels = drawn(60)
    new, truth = drawn(200, seed=1)
    backbone = FinetunedBackbone(folder, threads=1)
    tuned = backbone.head.logits(backbone.embed(new)).argmax(axis=1) == truth
    frozen = fit(tiny.embed(images), labels, CLASSES).logits(tiny.embed(new)).argmax(axis=1) == truth
    assert tuned.mean() > frozen.mean() + 0.05
    assert tuned.mean() > 0.75


def test_a_class_without_a_label_has_probability_zero(network):
    features = np.random.default_rng(0).random((5, network.dimension), dtype=np.float32)
    probabilities = network.head.probabilities(features)
    assert (probabilities[:, 1] == 0.0).all()
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert network.head.counts.tolist() == [24, 0, 24]


def test_the_export_gives_what_the_weights_give(network, folder, spec):
    body, _ = build_network(spec)
    body.load_state_dict(safetensors.torch.load(network.weights))
    images, _ = drawn(3, seed=2)
    with torch.inference_mode():
        expected = np.sqrt(np.abs(body(torch.from_numpy(images)).numpy()))
    found = np.abs(FinetunedBackbone(folder, threads=1).embed(images))
    assert np.allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-3)


def test_what_is_written_is_read_again(network, folder):
    read = load_finetuned(folder)
    assert read.report == network.report
    assert read.weights == network.weights
    assert np.array_equal(read.head.weights, network.head.weights)
    assert FinetunedBackbone(folder, threads=1).key == network.key == read.key


def test_the_key_is_of_these_weights_alone(network, spec, tiny):
    other = dataclasses.replace(network, weights=network.weights + b" ")
    assert len({network.key, other.key, spec.key, tiny.key}) == 3  # the frozen ones are the same backbone


def test_saving_replaces_the_former_network(network, tmp_path):
    save_finetuned(tmp_path, dataclasses.replace(network, weights=b"old"))
    save_finetuned(tmp_path, network)
    assert len(list(tmp_path.iterdir())) == 4
    assert load_finetuned(tmp_path).weights == network.weights


def damage_file(folder, pattern):
    path = max(folder.glob(pattern), key=lambda file: file.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])


def damage_description(folder):
    path = folder / "finetuned.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dimension": 3}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: damage_file(folder, "*.safetensors"),
        lambda folder: damage_file(folder, "*.onnx"),
        damage_description,
        lambda folder: (folder / "finetuned.json").write_text("{"),
        lambda folder: (folder / "finetuned.json").write_text('{"format": 99}'),
        lambda folder: (folder / "finetuned.json").unlink(),
        lambda folder: next(folder.glob("*.onnx")).unlink(),
    ],
)
def test_a_damaged_network_is_refused(network, tmp_path, damage):
    save_finetuned(tmp_path, network)
    damage(tmp_path)
    with pytest.raises(ModelError, match="TRAINING=finetune"):
        FinetunedBackbone(tmp_path, threads=1)


def test_a_folder_that_cannot_be_written_is_named(network, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="MODEL_DIR"):
        save_finetuned(tmp_path / "file" / "folder", network)


def test_the_same_seed_gives_the_same_network(tune, monkeypatch):
    monkeypatch.setattr(finetuning, "_EPOCHS", 2)
    images, labels = drawn(24)
    first, second, other = (tune(images, labels, seed=seed) for seed in (3, 3, 4))
    assert first.weights == second.weights != other.weights
    assert np.array_equal(first.head.weights, second.head.weights)


def test_without_a_step_the_head_is_the_linear_classifier(tune, tiny, monkeypatch):
    monkeypatch.setattr(finetuning, "_EPOCHS", 0)
    images, labels = drawn(30, rare=4)
    network = tune(images, labels)
    features = tiny.embed(images)
    expected = fit(features, labels, CLASSES).probabilities(features)
    assert np.allclose(network.head.probabilities(features), expected, atol=2e-3)
    assert network.report.steps == 0


def test_only_the_last_blocks_learn(tune, spec, monkeypatch):
    monkeypatch.setattr(finetuning, "_EPOCHS", 1)
    network = tune(*drawn(24, rare=9), blocks=1)
    body, _ = build_network(spec)
    after = safetensors.torch.load(network.weights)
    changed = {name for name, value in body.state_dict().items() if not torch.equal(value, after[name])}
    assert changed
    assert not [name for name in changed if name.startswith(("body.conv_stem", "body.blocks.0", "body.blocks.1"))]
    assert not [name for name in changed if "running" in name]
    assert network.report.blocks == 1 < network.report.of_blocks


@pytest.mark.parametrize("blocks", [0, 99, -1])
def test_blocks_that_the_network_lacks_are_refused(spec, blocks):
    body, _ = build_network(spec)
    with pytest.raises(InvalidArgumentError, match="blocks"):
        unfreeze(body, blocks)


def test_labels_are_held_out_where_every_class_has_enough(tune, monkeypatch):
    monkeypatch.setattr(finetuning, "_EPOCHS", 1)
    few, many = tune(*drawn(30, rare=9)).report, tune(*drawn(30, rare=10)).report
    assert (few.images, few.held_out, few.held_out_loss) == (30, 0, None)
    assert (many.images, many.held_out) == (24, 6)
    assert many.held_out_loss <= many.held_out_loss_before


def test_it_ends_when_the_images_held_out_fare_no_better(tune, monkeypatch):
    monkeypatch.setattr(finetuning, "_PATIENCE", 2)
    monkeypatch.setattr(finetuning, "_BODY_RATE", 0.0)
    monkeypatch.setattr(finetuning, "_HEAD_RATE", 0.0)
    report = tune(*drawn(30)).report
    assert report.epochs == 2.0
    assert report.best_epoch == 0.0


def test_it_ends_with_its_time(tune, monkeypatch):
    clock = SimpleNamespace(monotonic=itertools.count().__next__)  # a second passes from each look to the next
    monkeypatch.setattr(finetuning, "time", clock)
    monkeypatch.setattr(finetuning, "_PATIENCE", finetuning._EPOCHS)
    report = tune(*drawn(24), seconds=20.0).report
    assert 0 < report.epochs < finetuning._EPOCHS


def test_it_goes_on_from_a_network_that_was_made_before(tune, network, monkeypatch):
    monkeypatch.setattr(finetuning, "_EPOCHS", 0)
    images, labels = drawn(40, seed=5)
    warm, cold = tune(images, labels, warm_start=network), tune(images, labels)
    assert warm.weights == network.weights != cold.weights
    assert warm.report.warm
    assert not cold.report.warm


def test_it_does_not_go_on_from_another_backbone(tune, network):
    with pytest.raises(InvalidArgumentError, match="warm_start"):
        tune(*drawn(20), warm_start=dataclasses.replace(network, backbone="another"))


def test_progress_can_end_it(spec):
    class StopError(Exception):
        pass

    def stop(share, message):
        assert 0.0 <= share <= 1.0
        assert "images" in message
        raise StopError

    with pytest.raises(StopError):
        finetune(*drawn(20), CLASSES, spec=spec, device="cpu", progress=stop)


@pytest.mark.parametrize(
    ("images", "labels", "options", "error"),
    [
        (np.zeros((4, 16, 16, 3), dtype=np.uint8), [0, 2, 0, 2], {}, InvalidArgumentError),
        (np.zeros((4, SIZE, SIZE, 3), dtype=np.float32), [0, 2, 0, 2], {}, InvalidArgumentError),
        (np.zeros((4, SIZE, SIZE, 3), dtype=np.uint8), [0, 3, 0, 2], {}, InvalidArgumentError),
        (np.zeros((4, SIZE, SIZE, 3), dtype=np.uint8), [0, 2, 0], {}, InvalidArgumentError),
        (np.zeros((4, SIZE, SIZE, 3), dtype=np.uint8), [0, 2, 0, 2], {"seconds": 0.0}, InvalidArgumentError),
        (np.zeros((4, SIZE, SIZE, 3), dtype=np.uint8), [0, 0, 0, 0], {}, ModelError),
    ],
)
def test_input_that_cannot_be_is_refused(tune, images, labels, options, error):
    with pytest.raises(error):
        tune(images, labels, **options)


@needs_no_cuda
@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError(), "not enough memory"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_failures_of_the_machine_are_named(tune, monkeypatch, failure, message):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(finetuning, "draw_views", fail)
    with pytest.raises(ModelError, match=message):
        tune(*drawn(20))


def test_a_loss_that_is_not_finite_is_refused(tune, monkeypatch):
    monkeypatch.setattr(finetuning, "draw_views", lambda batch, *_: batch * torch.nan)
    with pytest.raises(ModelError, match="finite"):
        tune(*drawn(20))


def test_a_missing_cuda_device_is_named(tune):
    with pytest.raises(ModelError, match="DEVICE"):
        tune(*drawn(20), device="cuda")


@needs_cuda
def test_it_learns_on_a_cuda_device(tune):
    network = tune(*drawn(60), device="cuda")
    assert network.report.device == "cuda"
    assert network.report.held_out_loss < network.report.held_out_loss_before
