"""Words in the space of images: the scores of the libraries themselves, no call out, and refusals with their cure."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones import text_child, text_tower
from clinical_backend.learner.backbones.joint_space import joint_space_of
from clinical_backend.learner.backbones.loading import parse_backbone
from clinical_backend.learner.backbones.networks import TorchBackbone
from clinical_backend.learner.backbones.text_tower import embed_texts, require_text_tower
from tests.end_to_end.recorder import Recorder
from tests.learner.backbones.published import images
from tests.learner.backbones.two_towers import TEXTS, write_biomedclip, write_clip, write_plain, write_siglip


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    return Recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def home(monkeypatch, tmp_path, recorder):
    """Record what is started from here, and return its empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("XDG_", "HF_", "TRANSFORMERS_"))]:
        monkeypatch.delenv(name)
    for name, value in {**recorder.environment, "HOME": str(folder), "HF_TOKEN": "secret"}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "network"
    found.mkdir()
    torch.manual_seed(0)
    return found


def parsed(folder):
    return parse_backbone(str(folder), folder=folder.parent)


SLOW = pytest.mark.slow  # a child that imports a library takes some fifteen seconds


@pytest.mark.parametrize(
    "write", [write_siglip, *(pytest.param(one, marks=SLOW) for one in (write_clip, write_plain, write_biomedclip))]
)
def test_scores_are_those_of_the_library_itself_and_nobody_is_called(folder, write, home, recorder):
    expected = write(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    spec = parsed(folder)
    space, features = joint_space_of(spec), TorchBackbone(spec, "cpu").embed(images(spec.image_size))
    found = space.scale * space.place(features) @ embed_texts(spec, TEXTS).T
    assert np.ptp(expected) > 0.1
    assert np.abs(found - expected).max() < 1e-4
    assert [call for call in recorder.calls() if call.kind in {"lookup", "connect", "send"}] == []
    assert list(home.iterdir()) == []
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_tokenizer_may_stand_beside_the_weights_or_in_a_folder_of_its_own(folder, tmp_path, monkeypatch):
    write_clip(folder)
    found = []

    def look(spec, own, texts):
        found.append({path.name: path.resolve().parent for path in own.iterdir()})
        np.save(own / "embeddings.npy", np.ones((len(texts), 2)))

    monkeypatch.setattr(text_tower, "_run", look)
    embed_texts(parsed(folder), TEXTS)
    apart = tmp_path / "tokenizer"
    apart.mkdir()
    (folder / "tokenizer.json").rename(apart / "tokenizer.json")
    embed_texts(parsed(folder), TEXTS, tokenizer=apart)
    assert [(one["model.safetensors"], one["tokenizer.json"]) for one in found] == [(folder, folder), (folder, apart)]
    with pytest.raises(ModelError, match=r"tells how its text tower reads text\. Put its publisher's tokenizer\.json"):
        embed_texts(parsed(folder), TEXTS)


def test_a_child_gets_no_secret_and_is_told_to_stay_off_the_network(tmp_path, monkeypatch):
    ours = ("LABEL_STUDIO_API_KEY", "BASIC_AUTH_PASS", "DATABASE_URL", "REDIS_PASSWORD", "label_studio_api_key")
    for name in (*ours, "HF_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "HTTPS_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "a secret")
    given = text_tower._environment(tmp_path)
    assert "a secret" not in given.values()
    assert (given["HF_HUB_OFFLINE"], given["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert given["HF_HOME"].startswith(str(tmp_path))
    assert given["TMPDIR"] == str(tmp_path)


def change_tensors(folder, drop):
    path = folder / "model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if not name.startswith(drop)}
    save_file(kept, path, metadata={"format": "pt"})


@SLOW
@pytest.mark.parametrize(
    ("write", "lacks", "named"),
    [
        (write_clip, "text_projection", "text_projection"),
        (write_clip, "text_model.encoder", "text_model.encoder"),
        (write_siglip, "text_model.head", "head.bias"),
    ],
)
def test_weights_that_lack_a_part_of_the_text_tower_are_refused_and_not_made_up(folder, write, lacks, named):
    write(folder)
    change_tensors(folder, lacks)
    with pytest.raises(ModelError, match=rf"cannot be used \(ValueError: \d+ tensors are missing, as {named}"):
        embed_texts(parsed(folder), TEXTS)


def test_any_number_of_texts_is_read_each_once_and_some_at_a_time(folder, monkeypatch):
    write_clip(folder)
    texts, batches = [f"a blood cell {number}" for number in range(150)], []

    def embed(some):
        batches.append(len(some))
        return torch.tensor([[float(text.split()[-1]), 1.0] for text in some])

    def read(spec, own, each):
        np.save(own / "embeddings.npy", text_child._in_batches(embed, each))

    monkeypatch.setattr(text_tower, "_run", read)
    rows = embed_texts(parsed(folder), [*texts, *texts])
    assert (sum(batches), max(batches)) == (150, 64)
    assert np.array_equal(rows[:150], rows[150:])
    assert rows[:150, 0] / rows[:150, 1] == pytest.approx(np.arange(150))


def test_a_folder_that_was_taken_away_or_is_not_described_any_more_is_refused(folder):
    write_plain(folder)
    spec = parsed(folder)
    (folder / "open_clip_config.json").write_text('{"model_cfg": []}')
    with pytest.raises(ModelError, match=r"is not described.* Put its publisher's open_clip_config\.json"):
        embed_texts(spec, TEXTS)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(ModelError, match="not there any more"):
        require_text_tower(spec)


def test_a_library_that_is_not_installed_is_named_with_the_command_that_installs_it(folder, monkeypatch):
    write_clip(folder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"transformers, which is not installed\. Run `pip install 'clinical-backend\["
    ):
        require_text_tower(parsed(folder))


def test_a_child_that_dies_or_hangs_is_refused_and_gone(folder, monkeypatch):
    write_clip(folder)
    children = []

    class Watched(text_tower.subprocess.Popen):
        def __init__(self, *arguments, **named):
            super().__init__(["sleep", "600"], **named)
            children.append(self)

    monkeypatch.setattr(text_tower.subprocess, "Popen", Watched)
    monkeypatch.setattr(text_tower, "_SECONDS", 0.1)
    with pytest.raises(ModelError, match="came to no end"):
        embed_texts(parsed(folder), TEXTS)
    assert children[0].poll() is not None


@pytest.mark.parametrize("given", [np.zeros(3), np.full((3, 2), np.nan), np.zeros((2, 2))])
def test_what_are_no_embeddings_is_refused(folder, monkeypatch, given):
    write_clip(folder)
    monkeypatch.setattr(text_tower, "_run", lambda spec, own, texts: np.save(own / "embeddings.npy", given))
    with pytest.raises(ModelError, match="values that are no embeddings"):
        embed_texts(parsed(folder), TEXTS)


def test_what_a_library_says_is_told_in_a_line_without_our_paths(folder, monkeypatch):
    write_clip(folder)

    def fail(spec, own, texts):
        (own / "problem.json").write_text(json.dumps(["OSError", f"{own} lacks it. " + "x" * 500]))

    monkeypatch.setattr(text_tower, "_run", fail)
    with pytest.raises(ModelError, match=r"OSError: the folder lacks it") as refused:
        embed_texts(parsed(folder), TEXTS)
    assert len(refused.value.problem) < 350
    assert str(Path("/tmp")) not in refused.value.problem
