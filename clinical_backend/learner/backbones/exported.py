"""Backbones in ONNX Runtime: exported once into a folder, then read by any process without torch."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import onnxruntime
from filelock import FileLock

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import ArtifactKind, sha256
from clinical_backend.learner.backbones.base import Backbone, BackboneSpec
from clinical_backend.system.permissions import file_mode, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.artifact import Artifact

__all__ = ["SHIPPED", "ExportedBackbone", "exported_backbone", "exported_model", "open_session"]

_log = logging.getLogger(__name__)
_Read = TypeVar("_Read")

SHIPPED: Final = Path(sys.prefix, "share", "clinical-backend", "backbones")
"""Where an installation may hold networks that are exported already, as the image does: read, never written."""

_TOLERANCE = 1e-4  # of the largest value: rounding stays well below it, another network does not


class ExportedBackbone(Backbone):
    """A backbone that ONNX Runtime runs on the CPU."""

    engine = "ONNX Runtime on cpu"

    def __init__(self, spec: BackboneSpec, dimension: int, model: Path, *, threads: int) -> None:
        super().__init__(spec, dimension)
        self._session = open_session(model, threads)
        shape = self._session.get_outputs()[0].shape
        if shape[-1] != dimension:
            raise ModelError(
                f"The network {spec.architecture} gives {shape[-1]} values, its description says {dimension}.",
                "Remove the description beside the network; it is made anew.",
            )

    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self._session.run(None, {"pixels": batch})[0]
        return features


def exported_backbone(spec: BackboneSpec, folder: Path, *, threads: int) -> ExportedBackbone:
    """Return the backbone from its exported file; export it first where that is missing or damaged.

    A file that the installation came with goes before one in the folder.

    Raises
    ------
    ModelError
        When the network cannot be built or exported, or its export does not give the same features.
    """
    found = _exported(spec, (SHIPPED, folder), threads)
    if found is not None:
        return found
    try:
        make_folder(folder)
        with FileLock(folder / f"{_kind(spec).name}.lock", mode=file_mode(folder)):
            return _exported(spec, (folder,), threads) or _export(spec, folder, threads)
    except OSError as error:
        raise ModelError(
            f"The exported backbone cannot be kept ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable.",
        ) from None


def _kind(spec: BackboneSpec) -> ArtifactKind:
    name = f"{spec.architecture}-{sha256(spec.key.encode())[:16]}"
    return ArtifactKind(name, "exported backbone", "Load the backbone again: it is exported anew.")


def _exported(spec: BackboneSpec, folders: Sequence[Path], threads: int) -> ExportedBackbone | None:
    """Return the backbone of the first folder that holds it whole, or ``None`` where none does."""
    kept = _kept(spec, folders, lambda artifact: (artifact.path("model"), int(artifact.description["dimension"])))
    if kept is None:
        return None
    model, dimension = kept
    return ExportedBackbone(spec, dimension, model, threads=threads)


def _kept(spec: BackboneSpec, folders: Sequence[Path], read: Callable[[Artifact], _Read]) -> _Read | None:
    """Return what is read of the export in the first folder that holds it whole, or ``None`` where none does."""
    for folder in folders:
        try:
            with _kind(spec).opened(folder) as artifact:
                if artifact.description["key"] == spec.key:
                    return read(artifact)
        except ModelError:
            continue
    return None


def _export(spec: BackboneSpec, folder: Path, threads: int) -> ExportedBackbone:
    from clinical_backend.learner.backbones.onnx_export import export_onnx  # noqa: PLC0415 (imports torch)

    _log.info("Exporting the backbone %s; this happens once.", spec.key)
    export = export_onnx(spec)
    found = open_session(export.model, 1).run(None, {"pixels": export.probe})[0]
    error = np.abs(found - export.expected).max() / np.abs(export.expected).max()
    if not error <= _TOLERANCE:  # so that a NaN is refused, too
        raise ModelError(
            f"The export of the backbone {spec.architecture} gives other features (difference {error:.1e}).",
            "Choose another architecture, or report this with the versions of torch, onnx and onnxruntime.",
        )
    description = {"key": spec.key, "dimension": export.dimension, "versions": export.versions}
    _kind(spec).save(folder, description, {"model": export.model})
    model = folder / _kind(spec).file_name("model", sha256(export.model))
    return ExportedBackbone(spec, export.dimension, model, threads=threads)


def exported_model(spec: BackboneSpec, folder: Path) -> bytes:
    """Return the exported file of a backbone for one size of squares; export it first where that is needed.

    Raises
    ------
    ModelError
        As :func:`exported_backbone`.
    """
    read = partial(_kept, spec, (SHIPPED, folder), lambda artifact: artifact.read("model"))
    model = read()
    if model is None:
        exported_backbone(spec, folder, threads=1)
        model = read()
    if model is None:
        raise ModelError("The exported backbone is gone.", "Try again: it is exported anew.")
    return model


def open_session(model: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return a network that ONNX Runtime runs on the CPU, of a file or its content."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait would take the CPU from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
    )
