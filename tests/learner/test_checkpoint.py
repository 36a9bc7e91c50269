"""A checkpoint comes back as it was, or not at all."""

import json
import subprocess
import sys

import numpy as np
import pytest

from clinical_backend.errors import ModelError
from clinical_backend.learner import artifact
from clinical_backend.learner.checkpoint import CheckpointMetadata, load_checkpoint, load_held_out, save_checkpoint
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.evaluation.held_out import HeldOut
from tests.disks import full_disk, read_only

METADATA = CheckpointMetadata("network-128", 3, {"average precision": 0.5}, {"numpy": "2"})


def classifier(seed=0):
    random = np.random.default_rng(seed)
    weights = random.normal(size=(8, 3)).astype(np.float32)
    bias = np.array([0.5, -np.inf, 1.0], dtype=np.float32)
    return LinearClassifier(("ä", "b", "c"), weights, bias, np.array([5, 0, 2]))


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "3", classifier(), METADATA)
    return tmp_path / "3"


def same(one, other):
    names = ("weights", "bias", "counts")
    return one.classes == other.classes and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in names
    )


def test_everything_comes_back(folder):
    found, metadata = load_checkpoint(folder)
    assert same(found, classifier())
    assert metadata == METADATA
    features = np.ones((2, 8))
    assert np.array_equal(found.probabilities(features), classifier().probabilities(features))


def test_what_it_is_judged_by_comes_back_where_it_was_judged(folder):
    assert load_held_out(folder) is None
    probabilities = np.array([[0.2, 0, 0.8], [1, 0, 0]], dtype=np.float32)
    save_checkpoint(folder, classifier(), METADATA, HeldOut(np.array([7, 9]), probabilities, classifier(1)))
    found = load_held_out(folder)
    assert found.tasks.tolist() == [7, 9]
    assert np.array_equal(found.probabilities, probabilities)
    assert same(found.reference, classifier(1))
    assert same(load_checkpoint(folder)[0], classifier())
    tasks, features = np.array([9, 8, 7]), np.ones((3, 8), dtype=np.float32)
    later = classifier(1).probabilities(features[:1])[0, 2]
    assert found.rare_probability(tasks, features, ("c", "unknown")) == pytest.approx([0, later, 0.8])


def test_a_later_one_takes_its_place(folder):
    save_checkpoint(folder, classifier(1), METADATA)
    assert same(load_checkpoint(folder)[0], classifier(1))
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("file", ["*.safetensors", "checkpoint.json"])
def test_a_crash_before_the_last_rename_leaves_the_old_one(folder, monkeypatch, file):
    write = artifact.write_aside

    def die(path, content):
        if path.match(file):
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(artifact, "write_aside", die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, classifier(1), METADATA)
    assert same(load_checkpoint(folder)[0], classifier())


@pytest.mark.parametrize("pattern", ["*.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "changed", "a pickle"])
def test_damage_is_refused_with_a_cure(folder, pattern, how):
    (path,) = folder.glob(pattern)
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        half = len(content) // 2
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[:-9],
                "changed": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
                "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
            }[how]
        )
    with pytest.raises(ModelError) as refusal:
        load_checkpoint(folder)
    assert "round" in refusal.value.cure


def test_a_class_that_was_renamed_in_the_description_is_refused(folder):
    path = folder / "checkpoint.json"
    description = json.loads(path.read_text())
    description["classes"] = ["c", "b", "ä"]
    path.write_text(json.dumps(description))
    with pytest.raises(ModelError, match="was changed"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", ["null", "[]", '{"format": 99}', '{"format": 1}'])
def test_json_of_another_kind_is_refused(folder, content):
    (folder / "checkpoint.json").write_text(content)
    with pytest.raises(ModelError):
        load_checkpoint(folder)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        save_checkpoint(tmp_path / "file", classifier(), METADATA)


def test_a_full_disk_or_a_read_only_folder_is_told_and_leaves_the_old_one(folder):
    there = sorted(path.name for path in folder.iterdir())
    for obstacle in (full_disk(50), read_only(folder)):
        with obstacle, pytest.raises(ModelError, match=r"cannot be written .* Free some space, or make MODEL_DIR"):
            save_checkpoint(folder, classifier(1), METADATA)
        assert same(load_checkpoint(folder)[0], classifier())
        assert sorted(path.name for path in folder.iterdir()) == there


def test_reading_needs_neither_torch_nor_scikit_learn(folder):
    program = (
        "import sys; from pathlib import Path\n"
        "from clinical_backend.learner.checkpoint import load_checkpoint\n"
        "load_checkpoint(Path(sys.argv[1]))[0].residuals([[1.0] * 8])\n"
        "assert not {'torch', 'sklearn'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(folder)], check=False).returncode == 0
