"""What earlier versions kept, each kind of model in a layout of its own, is read, and refused where it was changed."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import ArtifactKind
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.learner.finetuning.network import load_finetuned
from clinical_backend.system.files import description_digest
from tests.learner.test_kept_files import MODEL, WEIGHTS, adapted_network, load_adapted

TENSORS = {
    "weights": np.eye(3, dtype=np.float32),
    "bias": np.zeros(3, dtype=np.float32),
    "counts": np.arange(3),
}
HEAD = safetensors.numpy.save(TENSORS)
REPORT = {
    "blocks": 2,
    "of_blocks": 5,
    "images": 8,
    "held_out": 0,
    "steps": 3,
    "epochs": 1.0,
    "seconds": 2.0,
    "loss": 0.5,
    "held_out_loss": None,
    "held_out_loss_before": None,
    "best_epoch": 1.0,
    "temperature": 1.0,
    "warm": False,
    "device": "cpu",
    "seed": 0,
}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def write(folder, name, description, files):
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (folder / name).write_text(json.dumps(description))


def seal(description):
    return {**description, "sha256": description_digest(description)}


def checkpoint(folder):
    name = f"{digest(HEAD)[:16]}.safetensors"
    metadata = {"backbone": "net", "round": 3, "metrics": {}, "versions": {}}
    description = {"format": 1, "tensors": name, "tensors_sha256": digest(HEAD), "classes": ["a", "b", "c"]}
    write(folder, "checkpoint.json", seal({**description, "metadata": metadata}), {name: HEAD})
    classifier, found = load_checkpoint(folder)
    return np.array_equal(classifier.weights, TENSORS["weights"]) and found.round == 3


def adapted(folder, sealed=True):
    network = adapted_network()
    fields = {name: getattr(network, name) for name in network.__slots__}
    description = {"format": 1, **fields}
    files = {network.weights_name: WEIGHTS, network.model_name: MODEL}
    write(folder, "adapted.json", seal(description) if sealed else description, files)
    return load_adapted(folder) == network


def adapted_first(folder):
    return adapted(folder, sealed=False)


def finetuned(folder):
    parts = {"weights": (WEIGHTS, "safetensors"), "model": (MODEL, "onnx"), "head": (HEAD, "safetensors")}
    names = {part: f"finetuned-{digest(content)[:16]}.{suffix}" for part, (content, suffix) in parts.items()}
    description = {
        "format": 1,
        "architecture": "net",
        "image_size": 32,
        "backbone": "key",
        "dimension": 3,
        "classes": ["a", "b", "c"],
        "report": REPORT,
        "versions": {},
        "files": {part: {"name": names[part], "sha256": digest(content)} for part, (content, _) in parts.items()},
    }
    files = {names[part]: content for part, (content, _) in parts.items()}
    write(folder, "finetuned.json", seal(description), files)
    network = load_finetuned(folder)
    return (network.weights, network.model, network.report.steps) == (WEIGHTS, MODEL, 3)


def exported(folder, sealed=True):
    description = {"format": 1, "key": "key", "dimension": 3, "sha256": digest(MODEL), "versions": {}}
    if sealed:
        description["description_sha256"] = description_digest(description)
    write(folder, "net-12.json", description, {"net-12.onnx": MODEL})
    with ArtifactKind("net-12", "exported backbone", "Export it again.").opened(folder) as artifact:
        return artifact.path("model").read_bytes() == MODEL and artifact.description["dimension"] == 3


def exported_first(folder):
    return exported(folder, sealed=False)


@pytest.mark.parametrize("kept", [checkpoint, adapted, adapted_first, finetuned, exported, exported_first])
def test_what_an_earlier_version_kept_is_read(tmp_path, kept):
    assert kept(tmp_path)


@pytest.mark.parametrize("kept", [checkpoint, adapted, finetuned, exported])
@pytest.mark.parametrize("pattern", ["*.json", "*.safetensors", "*.onnx"])
def test_what_an_earlier_version_kept_is_refused_where_it_was_changed(tmp_path, monkeypatch, kept, pattern):
    write_text, write_bytes = type(tmp_path).write_text, type(tmp_path).write_bytes

    def changed_text(path, content):
        return write_text(path, content.replace("3", "4", 1) if path.match(pattern) else content)

    def changed_bytes(path, content):
        return write_bytes(path, content[:-1] + b"\0\1" if path.match(pattern) else content)

    monkeypatch.setattr(type(tmp_path), "write_text", changed_text)
    monkeypatch.setattr(type(tmp_path), "write_bytes", changed_bytes)
    if (kept, pattern) in {(checkpoint, "*.onnx"), (exported, "*.safetensors")}:
        assert kept(tmp_path)  # it has no such file
    else:
        with pytest.raises(ModelError):
            kept(tmp_path)
