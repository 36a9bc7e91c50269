"""A model in one file predicts as its parts do, and is refused where it was changed."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.adaptation.encoder import Encoder
from clinical_backend.learner.adaptation.network import join_features
from clinical_backend.learner.artifact import sha256
from clinical_backend.learner.backbones.exported import open_session
from clinical_backend.learner.backbones.onnx_export import export_network
from clinical_backend.learner.backbones.preprocessing import power_normalised, to_fitting_square, to_square
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.portable import model_file
from clinical_backend.learner.portable import portable_graph as portable_graph_module
from clinical_backend.learner.portable.model_file import sealed, write_model
from clinical_backend.learner.portable.portable_graph import AdaptedPart, PortableParts, portable_graph
from clinical_backend.learner.portable.portable_model import PortableModel
from tests.learner.portable.test_letterbox import noise

SHAPES = [(10, 14), (32, 32), (50, 31), (90, 200), (300, 40)]
THUMBNAIL = 24


def export(network, side):
    return export_network(network.eval(), network.dimension, side, name="a small network").model


@pytest.fixture(scope="module", autouse=True)
def seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def networks():
    """Two networks for two sizes, whose first layers have other strides: no copy of one serves both."""
    mean, std = torch.full((3,), 0.4), torch.full((3,), 0.3)
    return {side: export(Encoder(side, 4, mean, std), side) for side in (32, 64)}


@pytest.fixture(scope="module")
def adapted():
    return export(Encoder(THUMBNAIL, 3, torch.full((3,), 0.5), torch.full((3,), 0.2)), THUMBNAIL)


def classifier(dimension, *, independent=False):
    generator = np.random.default_rng(1)
    weights = 4 * generator.normal(size=(dimension, 3)).astype(np.float32)
    bias = np.array([0.1, -0.2, 0.3], dtype=np.float32)
    return LinearClassifier(("a", "b", "c"), weights, bias, np.array([1, 2, 3]), independent)


def features(network, square):
    return power_normalised(open_session(network, 1).run(None, {"pixels": square[None]})[0])


def model_of(parts):
    about = {"classes": list(parts.classifier.classes), "several_findings": parts.classifier.independent}
    return PortableModel(sealed(portable_graph(parts), about), threads=1)


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_features_of_several_sizes(networks, shape, independent):
    head = classifier(16, independent=independent)
    model = model_of(PortableParts((32, 64), networks, normalises=False, adapted=None, classifier=head))
    square = to_fitting_square(noise(*shape), (32, 64))
    expected = head.probabilities(features(networks[len(square)], square))[0]
    assert np.abs(model.probabilities(noise(*shape)) - expected).max() < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_features_joined_with_adapted_ones(networks, adapted, shape):
    head = classifier(16 + 12)
    part = AdaptedPart(adapted, THUMBNAIL, 2.0)
    model = model_of(PortableParts((32, 64), networks, normalises=False, adapted=part, classifier=head))
    square = to_fitting_square(noise(*shape), (32, 64))
    blocks = [features(networks[len(square)], square), features(adapted, to_square(square, THUMBNAIL))]
    expected = head.probabilities(join_features(blocks, [1.0, 2.0]))[0]
    assert np.abs(model.probabilities(noise(*shape)) - expected).max() < 1e-6


def test_a_network_with_a_size_of_its_own_sees_the_square_in_that_size(networks):
    head = classifier(16)
    model = model_of(PortableParts((48, 96), {32: networks[32]}, normalises=False, adapted=None, classifier=head))
    image = noise(70, 150)
    square = to_square(to_fitting_square(image, (48, 96)), 32)
    expected = head.probabilities(features(networks[32], square))[0]
    assert np.abs(model.probabilities(image) - expected).max() < 1e-6


def test_values_that_are_features_already_stay_as_they_are(networks):
    head = classifier(16)
    model = model_of(PortableParts((32,), {32: networks[32]}, normalises=True, adapted=None, classifier=head))
    image = noise(32, 32)
    values = open_session(networks[32], 1).run(None, {"pixels": image[None]})[0]
    assert np.abs(model.probabilities(image) - head.probabilities(values)[0]).max() < 1e-6


def test_a_class_without_an_example_has_the_probability_zero(networks):
    head = classifier(16)
    head.bias[1] = -np.inf
    model = model_of(PortableParts((32,), {32: networks[32]}, normalises=False, adapted=None, classifier=head))
    found = model.probabilities(noise(32, 32))
    assert found[1] == 0
    assert found.sum() == pytest.approx(1)


def test_one_copy_of_the_weights_serves_sizes_at_which_the_network_does_the_same(networks):
    head = classifier(16)
    twice = PortableParts((32, 64), {32: networks[32], 64: networks[32]}, False, None, head)
    graph = portable_graph(twice).graph
    assert "If" not in {node.op_type for node in graph.node}
    once = portable_graph(PortableParts((32,), {32: networks[32]}, False, None, head)).graph
    assert len(graph.initializer) == len(once.initializer)


def test_networks_of_different_versions_of_onnx_are_refused(networks, adapted):
    other = onnx.load_from_string(adapted)
    other.opset_import[0].version = 19
    part = AdaptedPart(other.SerializeToString(), THUMBNAIL, 2.0)
    with pytest.raises(ModelError, match="clinical adapt"):
        portable_graph(PortableParts((32, 64), networks, False, part, classifier(28)))


def test_networks_that_are_too_large_for_one_file_are_refused(networks, monkeypatch):
    monkeypatch.setattr(portable_graph_module, "LARGEST_EXPORT", len(networks[32]) - 1)
    with pytest.raises(ModelError, match="smaller network"):
        portable_graph(PortableParts((32,), {32: networks[32]}, False, None, classifier(16)))


@pytest.fixture(scope="module")
def content(networks):
    """Return a file's content."""
    parts = PortableParts((32,), {32: networks[32]}, False, None, classifier(16))
    return sealed(portable_graph(parts), {"classes": ["a", "b", "c"], "several_findings": False, "project": 7})


def test_the_file_is_plain_onnx_that_says_what_it_is(content):
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert (entries["classes"], entries["project"], entries["format"]) == ('["a", "b", "c"]', "7", "1")
    assert list(entries)[-1] == "sha256"


def test_the_same_model_is_the_same_file(networks, content):
    parts = PortableParts((32,), {32: networks[32]}, False, None, classifier(16))
    about = {"classes": ["a", "b", "c"], "several_findings": False, "project": 7}
    assert sealed(portable_graph(parts), about) == content


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_with_one_byte_changed_is_refused(content, place):
    changed = bytearray(content)
    changed[int(place * len(content))] ^= 1
    with pytest.raises(ModelError, match="export-model"):
        PortableModel(bytes(changed))


def test_an_edited_description_is_refused_by_the_digest(content):
    with pytest.raises(ModelError, match="its digest is of another content"):
        PortableModel(content.replace(b'"a", "b"', b'"b", "a"'))


@pytest.mark.parametrize("damage", [lambda it: it[:-1], lambda it: it[: len(it) // 2], lambda _: b"", lambda _: b"GIF"])
def test_a_file_that_was_cut_off_or_is_another_is_refused(content, damage):
    with pytest.raises(ModelError, match="exported whole"):
        PortableModel(damage(content))


def test_a_file_with_something_added_is_refused(content):
    more = onnx.ModelProto()
    more.metadata_props.add(key="classes", value='["b", "a", "c"]')
    with pytest.raises(ModelError):
        PortableModel(content + more.SerializeToString())


def test_a_file_of_a_newer_format_is_refused_with_what_to_install(networks, monkeypatch):
    monkeypatch.setattr(model_file, "FORMAT", 2)
    parts = PortableParts((32,), {32: networks[32]}, False, None, classifier(16))
    newer = sealed(portable_graph(parts), {"classes": ["a", "b", "c"], "several_findings": False})
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"newer version of clinical-backend \(format 2.*Install that version"):
        PortableModel(newer)


def test_onnx_with_a_right_digest_that_is_no_model_of_ours_is_refused():
    with pytest.raises(ModelError, match="onnxruntime"):
        PortableModel(sealed(onnx.ModelProto(), {}))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_pixels_of_another_shape_are_refused(content, shape):
    with pytest.raises(InvalidArgumentError, match="height, width, 3"):
        PortableModel(content).probabilities(np.zeros(shape, dtype=np.uint8))


def test_a_model_says_the_likeliest_class_or_all_findings_that_are_likely(networks, content):
    shares = np.array([0.5, 0.1, 0.7], dtype=np.float32)
    assert PortableModel(content).label(shares) == "c"
    head = classifier(16, independent=True)
    several = model_of(PortableParts((32,), {32: networks[32]}, False, None, head))
    assert several.label(shares) == "a, c"
    assert several.label(shares / 2) == "no finding"


def test_a_file_that_cannot_be_read_or_written_is_refused(tmp_path):
    with pytest.raises(ModelError, match="Name a file"):
        PortableModel.read(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="another folder"):
        write_model(tmp_path / "none" / "model.onnx", b"")


def test_a_forged_file_is_refused_where_the_digest_of_the_right_one_is_named(networks, content, tmp_path):
    forged = PortableParts((32,), {32: networks[32]}, False, None, classifier(16, independent=True))
    about = {"classes": ["a", "b", "c"], "several_findings": False, "project": 7}
    (tmp_path / "model.onnx").write_bytes(sealed(portable_graph(forged), about))
    with pytest.raises(ModelError, match="another sha256"):
        PortableModel.read(tmp_path / "model.onnx", sha256(content))
    (tmp_path / "model.onnx").write_bytes(content)
    assert PortableModel.read(tmp_path / "model.onnx", sha256(content).upper()).classes == ("a", "b", "c")


def test_predicting_needs_no_torch():
    code = "import sys, clinical_backend.learner.portable.portable_model; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
