"""Adaptation learns images without labels, keeps to its time, goes on after a kill, and vouches for what it wrote."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageDraw

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.adaptation import training as adaptation
from clinical_backend.learner.adaptation.encoder import Encoder
from clinical_backend.learner.adaptation.network import AdaptedBackbone, join_features, load_adapted
from clinical_backend.learner.adaptation.training import AdaptationOptions, adapt
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.onnx_export import Export
from clinical_backend.learner.backbones.preprocessing import power_normalised
from tests.cuda import needs_cuda, needs_no_cuda

SIZE = 28
COUNT = 240
OPTIONS = AdaptationOptions(
    image_size=SIZE, seconds=600, epochs=1, batch_size=48, device="cpu", threads=1, width=8, seed=3
)


class KilledError(Exception):
    """Stands for a process that ends without a word."""


def draw(count=COUNT, grey=False):
    """Return images of two kinds, in turn: a disc or a ring, of the same colours, anywhere, on noise."""
    rng = np.random.default_rng(0)
    images = []
    for index in range(count):
        image = Image.fromarray(rng.integers(60, 110, (SIZE, SIZE, 3), dtype=np.uint8))
        radius, ink = rng.integers(6, 10), tuple(int(value) for value in rng.integers(150, 256, 3))
        x, y = rng.integers(10, SIZE - 10, 2)
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(image).ellipse(box, fill=ink if index % 2 else None, outline=ink, width=2)
        images.append(np.asarray(image.convert("L").convert("RGB") if grey else image))
    return np.stack(images)


def ignore(share, message):
    """Take no notice of the progress."""


def few_steps(monkeypatch, steps):
    monkeypatch.setattr(adaptation, "_MINIMUM_STEPS", steps)


@pytest.fixture(scope="module")
def images():
    return draw()


@pytest.fixture(scope="module")
def adapted(images, tmp_path_factory):
    """A folder that a network adapted into, with what it reported."""
    folder = tmp_path_factory.mktemp("adapted")
    reports = []
    with pytest.MonkeyPatch.context() as patch:
        few_steps(patch, 120)
        network = adapt(images, folder, OPTIONS, progress=lambda *report: reports.append(report))
    return folder, network, reports


@pytest.fixture
def no_export(adapted, monkeypatch):
    """Spare a test the seconds of an export."""
    folder, network, _ = adapted
    export = Export((folder / network.model_name).read_bytes(), network.dimension, None, None, {})
    monkeypatch.setattr(adaptation, "export_network", lambda *_, **__: export)


def copied(folder, target):
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_features_tell_two_drawn_kinds_apart(adapted, images):
    features = AdaptedBackbone(adapted[0], threads=1).embed(images)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features -= features.mean(axis=0)
    kinds = np.arange(COUNT) % 2
    half = COUNT // 2
    centres = np.stack([features[:half][kinds[:half] == kind].mean(axis=0) for kind in (0, 1)])
    found = (features[half:] @ (centres[1] - centres[0])) > (centres[1] ** 2 - centres[0] ** 2).sum() / 2
    assert np.mean(found == kinds[half:]) > 0.8


def test_the_network_says_how_it_came_about(adapted):
    folder, network, reports = adapted
    assert network == load_adapted(folder)
    assert (network.images, network.image_size, network.dimension) == (COUNT, SIZE, 4 * OPTIONS.width)
    assert network.views == "general"
    assert 0 < network.loss < np.log(2 * OPTIONS.batch_size)
    assert network.options["seed"] == OPTIONS.seed
    shares = [share for share, _ in reports]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert not list(folder.glob("adapting*"))


def test_the_export_gives_the_features_of_the_torch_network(adapted, images):
    folder, network, _ = adapted
    encoder = Encoder(SIZE, OPTIONS.width, torch.zeros(3), torch.ones(3)).eval()
    encoder.load_state_dict(safetensors.torch.load_file(folder / network.weights_name))
    with torch.inference_mode():
        expected = power_normalised(encoder(torch.from_numpy(images[:7])).numpy())
    assert np.abs(AdaptedBackbone(folder, threads=1).embed(images[:7]) - expected).max() < 1e-4


def test_the_embedder_takes_an_adapted_backbone(adapted, images):
    backbone = AdaptedBackbone(adapted[0], threads=1)
    pictures = [Image.fromarray(image) for image in images[:5]]
    embedded = np.stack(list(Embedder(backbone, Image.open).embed(pictures)))
    assert np.abs(embedded - backbone.embed(images[:5])).max() < 1e-5
    assert adapted[1].weights_sha256[:16] in backbone.key


def test_embedding_needs_no_torch(adapted):
    code = (
        "import pathlib, sys\n"
        "from clinical_backend.learner.adaptation.network import AdaptedBackbone\n"
        "AdaptedBackbone(pathlib.Path(sys.argv[1]), threads=1)\n"
        "raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(adapted[0])], check=False).returncode == 0


def test_the_same_call_again_returns_what_is_there(adapted, images):
    folder, network, _ = adapted
    assert adapt(images, folder, replace(OPTIONS, seconds=0.001), progress=ignore) == network


def test_a_killed_training_goes_on_to_the_very_same_network(images, tmp_path, monkeypatch, no_export):
    few_steps(monkeypatch, 8)
    options = replace(OPTIONS, checkpoint_seconds=0.0)
    whole = adapt(images, tmp_path / "whole", options, progress=ignore)
    monkeypatch.setattr(adaptation, "_REPORT_SECONDS", 0.0)
    shares = []

    def kill_after_three_steps(share, message):
        shares.append(share)
        if len(shares) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        adapt(images, tmp_path / "killed", options, progress=kill_after_three_steps)
    with pytest.raises(ModelError, match="no adapted network"):
        load_adapted(tmp_path / "killed")
    rest = []
    resumed = adapt(images, tmp_path / "killed", options, progress=lambda share, _: rest.append(share))
    assert rest[0] == 4 / 8
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.loss == pytest.approx(whole.loss)


def test_time_spent_before_a_kill_counts(images, tmp_path, monkeypatch, no_export):
    now = [0.0]

    def pass_ten_seconds():
        now[0] += 10.0
        return now[0]

    monkeypatch.setattr(adaptation.time, "monotonic", pass_ten_seconds)
    options = replace(OPTIONS, seconds=95.0, checkpoint_seconds=0.0)
    shares = []

    def kill_halfway(share, message):
        shares.append(share)
        if share > 0.5:
            raise KilledError

    with pytest.raises(KilledError):
        adapt(images, tmp_path, options, progress=kill_halfway)
    network = adapt(images, tmp_path, options, progress=ignore)
    assert network.steps == 10
    assert 95.0 <= network.seconds <= 105.0


def test_time_in_which_the_process_was_stopped_hardly_counts(images, tmp_path, monkeypatch, no_export):
    few_steps(monkeypatch, 8)
    now = [0.0]

    def stop_for_an_hour_once():
        now[0] += 3600.0 if now[0] == 2.0 else 1.0
        return now[0]

    monkeypatch.setattr(adaptation.time, "monotonic", stop_for_an_hour_once)
    assert adapt(images, tmp_path, OPTIONS, progress=ignore).steps == 8


def test_other_images_start_anew(images, tmp_path, monkeypatch):
    few_steps(monkeypatch, 8)
    monkeypatch.setattr(adaptation, "_REPORT_SECONDS", 0.0)
    options = replace(OPTIONS, checkpoint_seconds=0.0)

    def first_step(pool):
        shares = []

        def kill_after_two_steps(share, message):
            shares.append(share)
            if len(shares) == 2:
                raise KilledError

        with pytest.raises(KilledError):
            adapt(pool, tmp_path, options, progress=kill_after_two_steps)
        return shares[0]

    assert first_step(images) == 1 / 8
    assert first_step(images) == 3 / 8
    assert first_step(images[::-1]) == 1 / 8


def test_a_damaged_state_starts_anew(images, tmp_path, monkeypatch, caplog, no_export):
    few_steps(monkeypatch, 2)
    (tmp_path / "adapting.safetensors").write_bytes(b"no tensors")
    network = adapt(images, tmp_path, OPTIONS, progress=ignore)
    assert network.steps == len(images) // OPTIONS.batch_size
    assert "starts anew" in caplog.text


def test_a_new_network_replaces_the_old_one_and_its_files(adapted, images, tmp_path, monkeypatch, no_export):
    few_steps(monkeypatch, 2)
    folder = copied(adapted[0], tmp_path)
    network = adapt(images[::-1], folder, OPTIONS, progress=ignore)
    names = {path.name for path in folder.iterdir()}
    assert names == {"adapted.json", network.weights_name, network.model_name}
    assert AdaptedBackbone(folder, threads=1).key != AdaptedBackbone(adapted[0], threads=1).key


def test_grey_images_get_the_views_of_radiographs(tmp_path, monkeypatch, no_export):
    few_steps(monkeypatch, 2)
    assert adapt(draw(grey=True), tmp_path, OPTIONS, progress=ignore).views == "radiograph"


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content + b"0", lambda _: None])
def test_damaged_files_are_refused(adapted, tmp_path, suffix, damage):
    folder = copied(adapted[0], tmp_path)
    path = next(folder.glob(f"adapted-*{suffix}"))
    content = damage(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="Start the adaptation again"):
        AdaptedBackbone(folder, threads=1)


@pytest.mark.parametrize("change", [{"format": 0}, {"run": None, "surplus": 1}])
def test_a_description_of_another_kind_is_refused(adapted, tmp_path, change):
    folder = copied(adapted[0], tmp_path)
    description = json.loads((folder / "adapted.json").read_text())
    (folder / "adapted.json").write_text(json.dumps({**description, **change}))
    with pytest.raises(ModelError, match="Start the adaptation again"):
        load_adapted(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff"])
def test_a_description_that_is_none_is_refused(adapted, tmp_path, content):
    folder = copied(adapted[0], tmp_path)
    (folder / "adapted.json").write_bytes(content)
    with pytest.raises(ModelError, match="Start the adaptation again"):
        load_adapted(folder)


def test_too_few_images_are_refused(images, tmp_path):
    with pytest.raises(ModelError, match="199 images are too few"):
        adapt(images[:199], tmp_path, OPTIONS, progress=ignore)


@pytest.mark.parametrize("change", [lambda x: x[..., :1], lambda x: x.astype(np.float32), lambda x: x[:, :20, :20]])
def test_images_of_another_shape_or_type_are_refused(images, tmp_path, change):
    with pytest.raises(InvalidArgumentError, match="images"):
        adapt(change(images), tmp_path, OPTIONS, progress=ignore)


@pytest.mark.parametrize(
    "option",
    [
        {"image_size": 16},
        {"seconds": 0},
        {"epochs": 0},
        {"batch_size": 1},
        {"views": "none"},
        {"device": "tpu"},
        {"threads": 0},
        {"width": 0},
        {"temperature": 0},
        {"checkpoint_seconds": -1},
    ],
)
def test_options_that_cannot_be_are_refused(option):
    with pytest.raises(InvalidArgumentError, match=next(iter(option))):
        AdaptationOptions(**option)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError(), "not enough memory"),
        (RuntimeError("[enforce fail] can't allocate memory"), "not enough memory"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_failures_of_the_machine_are_named(images, tmp_path, monkeypatch, failure, message):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(adaptation, "contrastive_loss", fail)
    with pytest.raises(ModelError, match=message):
        adapt(images, tmp_path, OPTIONS, progress=ignore)


def test_a_loss_that_is_not_finite_is_refused(images, tmp_path, monkeypatch):
    def diverge(first, second, *, temperature):
        return (first * torch.nan).sum()

    monkeypatch.setattr(adaptation, "contrastive_loss", diverge)
    with pytest.raises(ModelError, match="finite"):
        adapt(images, tmp_path, OPTIONS, progress=ignore)
    with pytest.raises(ModelError, match="no adapted network"):
        load_adapted(tmp_path)


@needs_no_cuda
def test_a_missing_device_is_refused(images, tmp_path):
    with pytest.raises(ModelError, match="no CUDA device"):
        adapt(images, tmp_path, replace(OPTIONS, device="cuda"), progress=ignore)


@needs_cuda
def test_it_learns_on_a_cuda_device(images, tmp_path, monkeypatch):
    few_steps(monkeypatch, 5)
    first = adapt(images, tmp_path / "1", replace(OPTIONS, device="cuda"), progress=ignore)
    later = adapt(images, tmp_path / "60", replace(OPTIONS, device="cuda", epochs=60), progress=ignore)
    assert later.loss < first.loss
    assert np.isfinite(AdaptedBackbone(tmp_path / "60").embed(images[:5])).all()


def test_joined_features_have_the_weighted_mean_of_the_cosines():
    rng = np.random.default_rng(5)
    first, second = (rng.normal(size=(6, d)).astype(np.float32) for d in (4, 9))
    joined = join_features([first, second], [1.0, 2.0])
    unit = [block / np.linalg.norm(block, axis=1, keepdims=True) for block in (first, second)]
    assert joined.shape == (6, 13)
    assert joined.dtype == np.float32
    assert np.allclose(joined @ joined.T, unit[0] @ unit[0].T + 4.0 * (unit[1] @ unit[1].T), atol=1e-5)


def test_a_feature_of_zeros_stays_zero_when_joined():
    joined = join_features([np.zeros((1, 3), np.float32), np.ones((1, 4), np.float32)])
    assert joined.tolist() == [[0, 0, 0, 0.5, 0.5, 0.5, 0.5]]


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0]])
def test_blocks_and_weights_that_do_not_fit_are_refused(weights):
    block = np.ones((2, 3), np.float32)
    with pytest.raises(InvalidArgumentError, match="blocks"):
        join_features([block, block], weights)
    with pytest.raises(InvalidArgumentError, match="blocks"):
        join_features([block, block[:1]])
