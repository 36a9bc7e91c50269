"""One graph of ONNX from decoded pixels to probabilities, put together of networks that were exported by themselves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.compose
import onnx.inliner
from onnx import ModelProto, helper, numpy_helper

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.loading import LARGEST_EXPORT
from clinical_backend.learner.portable.letterbox import DOMAIN, letterbox_functions, parsed_functions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import GraphProto, NodeProto, TensorProto

    from clinical_backend.learner.classifier.linear import LinearClassifier

__all__ = ["AdaptedPart", "PortableParts", "portable_graph"]

# As ``power_normalised`` in backbones/preprocessing.py.
_POWER = """
power_normalised (values) => (features) {
  signs = Sign (values)
  sizes = Abs (values)
  roots_abs = Sqrt (sizes)
  roots = Mul (signs, roots_abs)
  features = clinical_backend.scaled (roots)
}
"""

# Rows of unit length; a row of zeros stays one.
_SCALED = """
scaled (rows) => (unit) {
  axis = Constant <value = int64[1] {1}> ()
  zero = Constant <value = float {0.0}> ()
  one = Constant <value = float {1.0}> ()
  lengths = ReduceL2 <keepdims = 1> (rows, axis)
  long = Greater (lengths, zero)
  divisors = Where (long, lengths, one)
  unit = Div (rows, divisors)
}
"""


@dataclass(frozen=True, slots=True)
class AdaptedPart:
    """A network that is adapted to a project's images, as ``adaptation/network.py`` joins its features.

    Attributes
    ----------
    model
        Its export.
    side
        Side of the thumbnails that it takes, in pixels.
    weight
        Length of its features beside frozen ones of length 1.
    """

    model: bytes
    side: int
    weight: float


@dataclass(frozen=True, slots=True)
class PortableParts:
    """What a model is made of.

    Attributes
    ----------
    sizes
        Sides of the squares in pixels that an image is put into, in rising order.
    networks
        By the side of the square that each takes, the exports that make features: one for each of the sizes, or a
        single one, which takes another size of its own.
    normalises
        Whether their values are features as they are; else these are power-normalised.
    adapted
        The network beside it, if one takes part.
    classifier
        Of the features; it holds the calibration.
    """

    sizes: tuple[int, ...]
    networks: Mapping[int, bytes]
    normalises: bool
    adapted: AdaptedPart | None
    classifier: LinearClassifier


def portable_graph(parts: PortableParts) -> ModelProto:
    """Return the graph, in plain operators of ONNX.

    Input ``pixels``: uint8, shape (height, width, 3), RGB, upright, of any size. Output ``probabilities``: float32,
    shape (C,), in the order of the classifier's classes.

    Raises
    ------
    ModelError
        When the networks are of different versions of ONNX, or too large for one file together.
    """
    exports = [*parts.networks.values(), *([parts.adapted.model] if parts.adapted else [])]
    if sum(map(len, exports)) > LARGEST_EXPORT:
        raise ModelError(
            "The networks are too large for one file of ONNX, which holds 2 GB.", "Set BACKBONE to a smaller network."
        )
    networks = {side: onnx.load_from_string(export) for side, export in parts.networks.items()}
    adapted = None if parts.adapted is None else onnx.load_from_string(parts.adapted.model)
    opset, version = _version([*networks.values(), *([adapted] if adapted else [])])
    graph = helper.make_graph([], "portable", [_pixels()], [_probabilities(len(parts.classifier.classes))])
    _add_squares(graph, parts.sizes)
    _add_network(graph, networks, parts.sizes)
    _add(graph, "Identity" if parts.normalises else "power_normalised", ["values"], "features")
    if parts.adapted is not None and adapted is not None:
        _add_adapted(graph, parts.adapted, adapted)
    _add_classifier(graph, parts.classifier, "joined" if parts.adapted else "features")
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    functions = [*letterbox_functions(opset), *parsed_functions((_SCALED, _POWER), opset)]
    model = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=version)
    plain = onnx.inliner.inline_local_functions(model)
    plain.graph.doc_string = "From the decoded pixels of an image to the probabilities of its classes."
    plain.producer_name = "clinical-backend"
    del plain.graph.value_info[:]  # what is said of tensors between the nodes: whoever reads the graph infers it
    return plain


def _pixels() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, ["height", "width", 3])


def _probabilities(classes: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, [classes])


def _version(models: Sequence[ModelProto]) -> tuple[int, int]:
    """Return the versions of the operators and of ONNX's form that networks were exported in."""
    opsets = {entry.version for model in models for entry in model.opset_import if entry.domain in {"", "ai.onnx"}}
    if len(opsets) != 1:
        raise ModelError(
            "The backbone and the adapted network were exported by different versions of torch, which do not fit.",
            "Run `clinical adapt` again, and wait for the next round.",
        )
    return opsets.pop(), max(model.ir_version for model in models)


def _add(graph: GraphProto, operator: str, inputs: Sequence[str], output: str, **attributes: int) -> None:
    domain = "" if operator[0].isupper() else DOMAIN
    graph.node.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))


def _constant(graph: GraphProto, name: str, value: object, dtype: type[np.generic]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
    return name


def _add_squares(graph: GraphProto, sizes: Sequence[int]) -> None:
    """Put the image into the square of the size that fits it."""
    _constant(graph, "sizes", sizes, np.int64)
    _constant(graph, "first_axis", [0], np.int64)
    _add(graph, "fitting_size", ["pixels", "sizes"], "size")
    _add(graph, "letterbox", ["pixels", "size"], "square")


def _add_network(graph: GraphProto, networks: Mapping[int, ModelProto], sizes: Sequence[int]) -> None:
    """Have the network of the square's size make its values."""
    *others, last = sorted(networks)
    if not others and tuple(sizes) != (last,):
        _constant(graph, "side", last, np.int64)
        _add(graph, "letterbox", ["square", "side"], "own_square")
        _add(graph, "Unsqueeze", ["own_square", "first_axis"], "batch")
    else:
        _add(graph, "Unsqueeze", ["square", "first_axis"], "batch")
    if all(_operations(networks[side]) == _operations(networks[last]) for side in others):
        graph.node.extend(_nodes(graph, networks[last], "network/", "batch", "values", {}))
        return
    known: dict[bytes, str] = {}
    chosen = _branch(graph, networks[last], last, known)
    for side in reversed(others):
        _constant(graph, f"side_{side}", side, np.int64)
        output = "values" if side == others[0] else f"values_from_{side}"
        then = _branch(graph, networks[side], side, known)
        choice = [
            helper.make_node("Equal", ["size", f"side_{side}"], [f"is_{side}"]),
            helper.make_node("If", [f"is_{side}"], [output], then_branch=then, else_branch=chosen),
        ]
        if side == others[0]:
            graph.node.extend(choice)
        else:
            chosen = helper.make_graph(choice, output, [], [helper.make_empty_tensor_value_info(output)])


def _operations(model: ModelProto) -> tuple[list[bytes], list[bytes]]:
    """Return what a network does, whatever the size of the images that it was exported for.

    A network without positions often does the same at several sizes: then one copy serves them all, two to five times
    as fast as a choice between two, whose weights ONNX Runtime cannot prepare beforehand.
    """
    nodes = []
    for node in model.graph.node:
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        plain.ClearField("metadata_props")
        plain.ClearField("doc_string")
        nodes.append(plain.SerializeToString(deterministic=True))
    return nodes, [tensor.name.encode() + _content(tensor) for tensor in model.graph.initializer]


def _branch(graph: GraphProto, network: ModelProto, side: int, known: dict[bytes, str]) -> GraphProto:
    """Return what a network for one size of squares makes of the batch."""
    output = f"values_{side}"
    nodes = _nodes(graph, network, f"network_{side}/", "batch", output, known)
    return helper.make_graph(nodes, f"network_{side}", [], [helper.make_empty_tensor_value_info(output)])


def _nodes(
    graph: GraphProto, model: ModelProto, prefix: str, source: str, target: str, known: dict[bytes, str]
) -> list[NodeProto]:
    """Return a network's nodes, and put its tensors into the graph.

    Parameters
    ----------
    known
        Names of tensors in the graph by their content: networks for several sizes of squares share nearly all.
    """
    own = onnx.compose.add_prefix(model, prefix).graph
    names = {}
    nested = any(attribute.HasField("g") or attribute.graphs for node in own.node for attribute in node.attribute)
    for tensor in own.initializer:
        content = _content(tensor)
        if content in known and not nested:
            names[tensor.name] = known[content]
        else:
            known[content] = tensor.name
            graph.initializer.append(tensor)
    for node in own.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
    start = helper.make_node("Identity", [source], [own.input[0].name])
    end = helper.make_node("Identity", [own.output[0].name], [target])
    return [start, *own.node, end]


def _content(tensor: TensorProto) -> bytes:
    values = numpy_helper.to_array(tensor)
    return hashlib.sha256(f"{values.dtype} {values.shape} ".encode() + values.tobytes()).digest()


def _add_adapted(graph: GraphProto, part: AdaptedPart, network: ModelProto) -> None:
    """Join the features with those that the adapted network makes of the square's thumbnail."""
    _constant(graph, "thumbnail_side", part.side, np.int64)
    _constant(graph, "adapted_weight", part.weight, np.float32)
    _add(graph, "letterbox", ["square", "thumbnail_side"], "thumbnail")
    _add(graph, "Unsqueeze", ["thumbnail", "first_axis"], "thumbnails")
    graph.node.extend(_nodes(graph, network, "adapted/", "thumbnails", "adapted_values", {}))
    _add(graph, "power_normalised", ["adapted_values"], "adapted_features")
    _add(graph, "scaled", ["features"], "frozen_part")
    _add(graph, "scaled", ["adapted_features"], "adapted_unit")
    _add(graph, "Mul", ["adapted_unit", "adapted_weight"], "adapted_part")
    _add(graph, "Concat", ["frozen_part", "adapted_part"], "joined", axis=1)


def _add_classifier(graph: GraphProto, classifier: LinearClassifier, features: str) -> None:
    """Make probabilities of features, as ``LinearClassifier.probabilities`` does."""
    _constant(graph, "weights", classifier.weights, np.float32)
    _constant(graph, "bias", classifier.bias, np.float32)
    _add(graph, "scaled", [features], "unit_features")
    _add(graph, "MatMul", ["unit_features", "weights"], "products")
    _add(graph, "Add", ["products", "bias"], "logits")
    if classifier.independent:
        _add(graph, "Sigmoid", ["logits"], "rows")
    else:
        _add(graph, "Softmax", ["logits"], "rows", axis=1)
    _add(graph, "Squeeze", ["rows", "first_axis"], "probabilities")
