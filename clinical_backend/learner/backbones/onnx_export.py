"""Export of a torch network to ONNX. Importing this imports torch."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.networks import build_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.base import BackboneSpec

__all__ = ["Export", "export_network", "export_onnx"]


@dataclass(frozen=True, slots=True)
class Export:
    """An exported network, with what it has to give for a probe.

    Attributes
    ----------
    model
        The ONNX file. Input ``pixels``: uint8, shape (n, size, size, 3).
    dimension
        Number of features.
    probe, expected
        Pixels of two images, and torch's features of them.
    versions
        Of the packages that made it.
    """

    model: bytes
    dimension: int
    probe: NDArray[np.uint8]
    expected: NDArray[np.float32]
    versions: dict[str, str]


def export_onnx(spec: BackboneSpec) -> Export:
    """Export a backbone for batches of any length.

    Raises
    ------
    ModelError
        When the network cannot be built, or holds an operation that ONNX does not have.
    """
    network, dimension = build_network(spec)
    return export_network(network, dimension, spec.image_size, name=spec.architecture)


def export_network(network: torch.nn.Module, dimension: int, image_size: int, *, name: str) -> Export:
    """Export a network that takes pixels, for batches of any length.

    Parameters
    ----------
    network
        In evaluation mode, on the CPU. Takes uint8 of shape (n, image_size, image_size, 3).
    dimension
        Number of features.
    image_size
        Side of the square input in pixels.
    name
        What errors call it.

    Raises
    ------
    ModelError
        When it holds an operation that ONNX does not have.
    """
    shape = (2, image_size, image_size, 3)
    probe = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels = torch.from_numpy(probe)
    with torch.inference_mode():
        expected: NDArray[np.float32] = network(pixels).numpy()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its inner workings
        path = Path(folder) / "backbone.onnx"
        try:
            torch.onnx.export(
                network,
                (pixels,),
                path,
                input_names=["pixels"],
                output_names=["features"],
                dynamo=True,
                dynamic_shapes={"pixels": {0: torch.export.Dim("n")}},
                external_data=False,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            raise ModelError(
                f"The backbone {name} cannot be exported to ONNX ({type(error).__name__}).",
                "Choose another architecture, or run it on a CUDA device.",
            ) from None
        model = path.read_bytes()
    versions = {"torch": torch.__version__, "onnx": onnx.__version__}
    return Export(model, dimension, probe, expected, versions)
