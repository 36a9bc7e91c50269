"""What a portable model says of a folder: every page, every file that cannot be read, and nothing that it may not."""

import csv
import json
import os
from io import BytesIO, StringIO

import numpy as np
import onnx
import onnx.parser
import pytest
import typer
from PIL import Image

from clinical_backend.commands.portable import predict
from clinical_backend.errors import InvalidArgumentError
from clinical_backend.handover import folder_predictions
from clinical_backend.handover.folder_predictions import predict_folder, write_predictions
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.portable.model_file import sealed
from clinical_backend.learner.portable.portable_graph import PortableParts, portable_graph
from clinical_backend.learner.portable.portable_model import PortableModel
from tests.images.decoders.dicoms import dicom

NETWORK = """
<ir_version: 10, opset_import: ["" : 20]>
colours (uint8[n, 8, 8, 3] pixels) => (float[n, 3] features) {
  values = Cast <to = 1> (pixels)
  axes = Constant <value = int64[2] {1, 2}> ()
  features = ReduceMean <keepdims = 0> (values, axes)
}
"""
CLASSES = ("=red", "green", "blue")


@pytest.fixture(scope="module")
def content():
    """Return the file of a model that names the strongest colour."""
    head = LinearClassifier(CLASSES, 9 * np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32), np.ones(3))
    network = onnx.parser.parse_model(NETWORK).SerializeToString()
    parts = PortableParts((8,), {8: network}, normalises=True, adapted=None, classifier=head)
    return sealed(portable_graph(parts), {"classes": list(CLASSES), "several_findings": False})


@pytest.fixture(scope="module")
def model(content):
    return PortableModel(content, threads=1)


def stack(*colours):
    stream = BytesIO()
    first, *others = [Image.new("RGB", (8, 8), colour) for colour in colours]
    first.save(stream, "TIFF", save_all=True, append_images=others)
    return stream.getvalue()


def picture(colour):
    stream = BytesIO()
    Image.new("RGB", (20, 10), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    (made / "b").mkdir(parents=True)
    (made / ".hidden").mkdir()
    (made / "a.tif").write_bytes(stack("red", "lime", "blue"))
    (made / "b" / "c.png").write_bytes(picture("blue"))
    (made / "frames.dcm").write_bytes(dicom(np.full((2, 8, 8), [[[9]], [[200]]], dtype=np.uint8), NumberOfFrames=2))
    (made / "notes.txt").write_text("none")
    (made / ".hidden" / "d.png").write_bytes(picture("blue"))
    (made / ".d.png").write_bytes(picture("blue"))
    (made / "red.png").symlink_to(made / "b" / "c.png")
    os.mkfifo(made / "pipe")
    return made


def test_each_page_is_an_image_and_what_cannot_be_read_has_its_reason(model, folder):
    found = [(one.file, one.page, one.problem and one.problem[:20]) for one in predict_folder(model, folder)]
    assert found == [
        ("a.tif", 1, ""),
        ("a.tif", 2, ""),
        ("a.tif", 3, ""),
        ("frames.dcm", 1, ""),
        ("frames.dcm", 2, ""),
        ("notes.txt", None, "The file is not an i"),
        ("pipe", None, "It is no file. Put i"),
        ("red.png", None, ""),
        ("b/c.png", None, ""),
    ]


def test_pages_have_their_own_predictions(model, folder):
    labels = [model.label(one.probabilities) for one in predict_folder(model, folder / "a.tif")]
    assert labels == ["=red", "green", "blue"]


def test_csv_has_a_column_for_each_class_and_no_formula(model, folder):
    lines = list(csv.DictReader(StringIO("".join(write_predictions(model, predict_folder(model, folder), "csv")))))
    assert (lines[0]["file"], lines[0]["page"]) == ("a.tif", "1")
    assert lines[0]["label"] == "'=red"
    shares = [float(lines[0][f"probability of {name}"]) for name in CLASSES]
    assert np.float32(shares[0]) == model.probabilities(np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8))[0]
    assert sum(shares) == pytest.approx(1)
    (text,) = (line for line in lines if line["file"] == "notes.txt")
    assert (text["label"], text["probability of green"]) == ("", "")
    assert "Use JPEG, PNG" in text["problem"]


def test_json_is_a_list_also_of_nothing(model, folder):
    found = json.loads("".join(write_predictions(model, predict_folder(model, folder), "json")))
    assert len(found) == 9
    assert found[-1]["label"] == "blue"
    assert found[-1]["probabilities"].keys() == set(CLASSES)
    assert [one["probabilities"] for one in found if one["problem"]] == [None, None]
    assert json.loads("".join(write_predictions(model, [], "json"))) == []


def test_a_file_that_is_too_large_is_not_read_to_its_end(model, folder, monkeypatch):
    monkeypatch.setattr(folder_predictions, "SIZE_LIMIT", 70)
    (one,) = predict_folder(model, folder / "b" / "c.png")
    assert "smaller version" in one.problem


def test_a_folder_that_is_not_there_is_refused(model, tmp_path):
    with pytest.raises(InvalidArgumentError, match="Name a folder"):
        list(predict_folder(model, tmp_path / "none"))


def test_the_command_fails_where_no_image_is_read(content, tmp_path, capsys):
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "empty").mkdir()
    with pytest.raises(typer.Exit):
        predict(tmp_path / "model.onnx", tmp_path / "empty", "csv")
    assert "No image was read" in capsys.readouterr().err
