"""A project's model predicts from its file alone, in another process, as the backend does."""

import base64
import json
import os
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from clinical_backend.commands import portable
from clinical_backend.errors import ModelError
from clinical_backend.handover import model_export
from clinical_backend.handover.folder_predictions import predict_folder
from clinical_backend.handover.model_export import export_model
from clinical_backend.images.sources import ImageRequest
from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.learner.adaptation.encoder import Encoder
from clinical_backend.learner.adaptation.network import AdaptedNetwork, save_adapted
from clinical_backend.learner.artifact import sha256
from clinical_backend.learner.backbones.onnx_export import export_network
from clinical_backend.learner.checkpoint import CheckpointMetadata, save_checkpoint
from clinical_backend.learner.classifier.linear import fit
from clinical_backend.learner.classifier.one_vs_rest import fit_findings, join_findings
from clinical_backend.learner.finetuning.network import FinetunedNetwork, FinetuningReport, save_finetuned
from clinical_backend.learner.portable.portable_model import PortableModel
from clinical_backend.service.predict import predict
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.report import RoundReport
from clinical_backend.study import StudyImage, address_of_images
from clinical_backend.workspace.features import THUMBNAIL
from clinical_backend.workspace.finetuning_record import FinetuningRecord, write_record
from clinical_backend.workspace.witness_files import save_image_classifier
from clinical_backend.workspace.workspace import Workspace
from tests.conftest import CACHE
from tests.images.decoders.dicoms import dicom
from tests.storage.started import start_round

CLASSES = ("common", "odd", "rare")
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image" choice="{}">'
    + "".join(f'<Choice value="{name}"/>' for name in CLASSES)
    + "</Choices></View>"
)
SINGLE, SEVERAL = CONFIG.format("single"), CONFIG.format("multiple")
ROOT = Path(__file__).parent.parent.parent


def pixels(height, width, seed):
    """Return an image with large and small structure."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((width, height))
    return np.clip(np.asarray(coarse, dtype=int) + generator.integers(-20, 20, (height, width, 3)), 0, 255)


def written(array, form, **options):
    stream = BytesIO()
    Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def files():
    """Return an image of each format, by its name; the sizes are those of cells, slides and radiographs."""
    colour = {name: pixels(*shape, seed).astype(np.uint8) for seed, (name, shape) in enumerate(
        {"small": (28, 28), "middle": (140, 100), "large": (500, 620), "tall": (600, 90)}.items()
    )}  # fmt: skip
    grey = colour["middle"][..., 0]
    deep = (pixels(300, 260, 9)[..., 0] * 250 + 17).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    alpha = np.dstack([colour["middle"], grey])
    return {
        "alpha.png": written(alpha, "PNG"),
        "cell.bmp": written(colour["small"], "BMP"),
        "deep.dcm": dicom(deep),
        "deep.png": written(deep, "PNG"),
        "deep.tif": written(deep, "TIFF"),
        "film.dcm": dicom(grey),
        "grey.jpg": written(grey, "JPEG"),
        "palette.gif": written(colour["middle"], "GIF"),
        "photo.jpg": written(colour["large"], "JPEG", exif=exif, quality=90),
        "slide.tif": written(colour["large"], "TIFF", compression="tiff_lzw"),
        "sub/small.png": written(colour["small"], "PNG"),
        "sub/tall.webp": written(colour["tall"], "WEBP", lossless=True),
    }


FILES = files()


def uri(content):
    return f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="module")
def adapted_model():
    """Return a network's export for thumbnails."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Encoder(THUMBNAIL, 4, torch.full((3,), 0.4), torch.full((3,), 0.3)).eval()
        return export_network(network, network.dimension, THUMBNAIL, name="small")


def opened(tmp_path, source, **settings):
    """Return a workspace of project 1, which decodes in processes of their own."""
    (CACHE / "backbones").mkdir(parents=True, exist_ok=True)
    (tmp_path / "backbones").symlink_to(CACHE / "backbones")
    made = load_settings(model_dir=tmp_path, label_studio_api_key="k", device="cpu", **settings)
    parts = {"client": None, "source": source, "watching_source": source}
    workspace = Workspace(made, Database.in_folder(tmp_path), **parts)
    workspace.stores.projects.register(1)
    return closing(workspace)


@pytest.fixture
def default(tmp_path, source, exported_backbones):
    """Return a workspace with the default backbone, which takes squares of two sizes."""
    with opened(tmp_path, source) as workspace:
        yield workspace


@pytest.fixture
def workspace(tmp_path, source):
    """Return a workspace with a backbone that takes a fifth of the time."""
    with opened(tmp_path, source, backbone="efficientnet_lite0", image_size=64) as workspace:
        yield workspace


def adapt(project, export):
    """Have a network be adapted to the project's images."""
    description = {"run": "r", "image_size": THUMBNAIL, "dimension": export.dimension, "views": "general", "images": 9,
                   "steps": 1, "seconds": 1.0, "loss": 1.0, "options": {}, "versions": {}}  # fmt: skip
    network = AdaptedNetwork(weights_sha256="", model_sha256="", **description)
    save_adapted(project.adaptation_folder, network, b"weights", export.model)


def requests():
    return [ImageRequest(None, uri(content)) for content in FILES.values()]


def rows_of(project, features):
    """Return the features of all files, in their order."""
    found = project.look_up(features, requests(), time.monotonic() + 300).by_place
    return np.stack([found[place] for place in range(len(FILES))])


def publish(project, key, classifier):
    row = start_round(project.stores, 1)
    save_checkpoint(project.checkpoint_folder(row.version), classifier, CheckpointMetadata(key, 1))
    project.stores.rounds.publish(row, RoundReport(), 5)
    return row.version


def expected(project, version):
    """Return what the backend says of each file: its probabilities, and what *Retrieve predictions* answers."""
    classifier, representation = project.published_model(version)
    config = SEVERAL if classifier.independent else SINGLE
    tasks = [PredictTask(id=None, data={"image": uri(content)}, predictions=[{}]) for content in FILES.values()]
    answers = [
        [choice for region in item.result for choice in region["value"]["choices"]]
        for item in predict(project, config, tasks)
    ]
    return classifier.probabilities(rows_of(project, representation)), answers


def clinical(*arguments, home):
    """Run the command as a machine would that has nothing of the backend's state."""
    return subprocess.run(
        [sys.executable, "-m", "clinical_backend", *map(str, arguments)],
        cwd=home, env={"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def elsewhere(tmp_path):
    """Return a home with nothing in it, and a folder with the images."""
    home, folder = tmp_path / "home", tmp_path / "images"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    home.mkdir()
    return home, folder


def said(path, folder):
    """Return what a model's file says of each file, shape (n, C)."""
    found = {one.file: one.probabilities for one in predict_folder(PortableModel.read(path), folder)}
    return np.stack([found[name] for name in FILES])


def joined(project, adapted_model):
    """Publish the mean of a classifier of frozen features and one of these joined with adapted ones."""
    adapt(project, adapted_model)
    frozen, both = project.representations()
    labels = [place % 3 for place in range(len(FILES))]
    rows = rows_of(project, both)
    alone = rows[:, : project.workspace.backbone.dimension]
    ratio = float(np.linalg.norm(rows[0]) / np.linalg.norm(alone[0]))
    head = fit(rows, labels, CLASSES).mean_with(fit(alone, labels, CLASSES).of_joined(rows.shape[1], ratio))
    assert frozen.key != both.key
    return publish(project, both.key, head)


def test_another_process_says_of_every_format_what_the_backend_says(default, adapted_model, elsewhere, tmp_path):
    project = default.project(1)
    version = joined(project, adapted_model)
    done = export_model(project, tmp_path / "model.onnx")
    shares, answers = expected(project, version)
    home, folder = elsewhere
    run = clinical("predict", tmp_path / "model.onnx", folder, "--format", "json", home=home)
    assert (run.returncode, run.stderr) == (0, "")
    found = {one["file"]: one for one in json.loads(run.stdout)}
    assert list(found) == sorted(FILES)
    probabilities = np.array([[found[name]["probabilities"][one] for one in CLASSES] for name in FILES])
    assert np.abs(probabilities - shares).max() < 1e-5
    assert [[found[name]["label"]] for name in FILES] == answers
    assert list(home.iterdir()) == []
    assert done.description["model_version"] == version
    assert done.sha256 == sha256((tmp_path / "model.onnx").read_bytes())


def test_several_findings_have_the_probabilities_that_the_backend_gives_each(
    workspace, elsewhere, tmp_path, monkeypatch, capsys
):
    project = workspace.project(1)
    (frozen,) = project.representations()
    says = np.random.default_rng(2).integers(0, 2, (len(FILES), 3)).astype(np.float32)
    head = join_findings(fit_findings(rows_of(project, frozen), says, CLASSES, seed=0))
    version = publish(project, frozen.key, head)
    monkeypatch.setattr(portable, "opened_workspace", lambda _: nullcontext(workspace))
    portable.export_model(tmp_path / "model.onnx", 1)
    printed = capsys.readouterr().out
    assert f"sha256 {sha256((tmp_path / 'model.onnx').read_bytes())}" in printed
    assert "clinical card --project 1 --out FOLDER --model" in " ".join(printed.split())
    shares, answers = expected(project, version)
    model = PortableModel.read(tmp_path / "model.onnx")
    found = said(tmp_path / "model.onnx", elsewhere[1])
    assert np.abs(found - shares).max() < 1e-5
    labels = [model.label(row) for row in found]
    assert [", ".join(sorted(answer)) or "no finding" for answer in answers] == labels
    assert model.description["threshold"] == 0.5


def test_a_finetuned_network_that_answers_is_what_is_exported(workspace, adapted_model, elsewhere, tmp_path):
    workspace.settings = workspace.settings.model_copy(update={"training": "finetune"})
    project = workspace.project(1)
    (frozen,) = project.representations()
    publish(project, frozen.key, fit(rows_of(project, frozen), [place % 3 for place in range(len(FILES))], CLASSES))
    rows = np.random.default_rng(3).normal(size=(9, adapted_model.dimension)).astype(np.float32)
    report = FinetuningReport(1, 1, 9, 0, 1, 1.0, 1.0, 1.0, None, None, 1.0, 1.0, False, "cpu", 0)
    network = FinetunedNetwork(
        "small", THUMBNAIL, workspace.trainable.key, adapted_model.dimension, fit(rows, [0, 1, 2] * 3, CLASSES), report,
        {}, b"weights", adapted_model.model,
    )  # fmt: skip
    save_finetuned(project.finetuning_folder / "first", network)
    write_record(
        project.finetuning_folder, FinetuningRecord(message="", backbone=workspace.trainable.key, network="first")
    )
    done = export_model(project, tmp_path / "model.onnx")
    shares = rows_of(project, project.finetuned().probabilities)
    found = said(tmp_path / "model.onnx", elsewhere[1])
    assert np.abs(found - shares).max() < 1e-5
    assert done.description["network"] == "fine-tuned small"


def test_a_project_that_has_published_nothing_is_refused(workspace, tmp_path):
    with pytest.raises(ModelError, match="wait for the next round"):
        export_model(workspace.project(1), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.fixture
def studies(workspace):
    """Return a project whose tasks have several images, and its published version."""
    images = tuple(StudyImage(place, 2, "image", f"data:,{place}") for place in range(2))
    workspace.stores.images.synchronise(1, {1: address_of_images(images)}, complete=True)
    workspace.stores.studies.synchronise(1, {1: images}, complete=True)
    project = workspace.project(1)
    (pooled,) = project.representations()
    rows = np.random.default_rng(4).normal(size=(6, 2 * workspace.backbone.dimension)).astype(np.float32)
    return project, publish(project, pooled.key, fit(rows, [0, 1] * 3, CLASSES[:2]))


def test_a_model_of_all_images_of_a_task_together_is_refused_with_what_to_do(studies, tmp_path):
    with pytest.raises(ModelError, match="image by image"):
        export_model(studies[0], tmp_path / "model.onnx")


def test_of_tasks_with_several_images_what_tells_single_ones_is_exported(studies, elsewhere, tmp_path):
    project, version = studies
    rows = rows_of(project, project.workspace.features)
    head = fit(rows, [place % 3 for place in range(len(FILES))], CLASSES)
    save_image_classifier(project.checkpoint_folder(version), project.workspace.backbone.key, head, 1)
    export_model(project, tmp_path / "model.onnx")
    found = said(tmp_path / "model.onnx", elsewhere[1])
    assert np.abs(found - head.probabilities(rows)).max() < 1e-5


def test_what_readers_are_asked_decides_which_of_both_is_exported(studies, tmp_path):
    project, version = studies
    lists = SINGLE.replace('value="$image"', 'valueList="$images"')
    project.stores.projects.change(1, label_config=lists.replace("<Choices", '<Choices perItem="true"'))
    with pytest.raises(ModelError, match="Answer some image by image"):
        export_model(project, tmp_path / "model.onnx")
    rows = np.random.default_rng(6).normal(size=(6, project.workspace.backbone.dimension)).astype(np.float32)
    head = fit(rows, [0, 1] * 3, CLASSES[:2])
    save_image_classifier(project.checkpoint_folder(version), project.workspace.backbone.key, head, 1)
    assert export_model(project, tmp_path / "model.onnx").description["classes"] == list(CLASSES[:2])
    project.stores.projects.change(1, label_config=lists)
    with pytest.raises(ModelError, match="several images together"):
        export_model(project, tmp_path / "model.onnx")


def test_a_file_that_says_otherwise_than_the_backend_is_not_written(workspace, tmp_path, monkeypatch):
    project = workspace.project(1)
    (frozen,) = project.representations()
    rows = np.random.default_rng(5).normal(size=(6, workspace.backbone.dimension)).astype(np.float32)
    publish(project, frozen.key, fit(rows, [0, 1] * 3, CLASSES[:2]))
    real = model_export.portable_graph

    def wrong(parts):
        graph = real(parts)
        (bias,) = (tensor for tensor in graph.graph.initializer if tensor.name == "bias")
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32([0, 1e-3]), "bias"))
        return graph

    monkeypatch.setattr(model_export, "portable_graph", wrong)
    with pytest.raises(ModelError, match="predicts otherwise than the backend"):
        export_model(project, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
