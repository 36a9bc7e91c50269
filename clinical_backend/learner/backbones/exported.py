"""Backbones in ONNX Runtime: exported once into a folder, then read by any process without torch."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime
from filelock import FileLock

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.base import Backbone, BackboneSpec, file_sha256
from clinical_backend.system.files import description_digest, write_aside
from clinical_backend.system.permissions import file_mode, make_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SHIPPED", "ExportedBackbone", "exported_backbone"]

_log = logging.getLogger(__name__)

SHIPPED: Final = Path(sys.prefix, "share", "clinical-backend", "backbones")
"""Where an installation may hold networks that are exported already, as the image does: read, never written."""

_TOLERANCE = 1e-4
_FORMAT = 1


class ExportedBackbone(Backbone):
    """A backbone that ONNX Runtime runs on the CPU."""

    engine = "ONNX Runtime on cpu"

    def __init__(self, spec: BackboneSpec, dimension: int, model: Path, *, threads: int) -> None:
        super().__init__(spec, dimension)
        self._session = _open_session(model, threads)
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
    name = f"{spec.architecture}-{hashlib.sha256(spec.key.encode()).hexdigest()[:16]}.onnx"
    shipped = None
    with suppress(OSError):
        shipped = _exported_dimension(spec, SHIPPED / name)
    if shipped is not None:
        return ExportedBackbone(spec, shipped, SHIPPED / name, threads=threads)
    try:
        make_folder(folder)
        model = folder / name
        dimension = _exported_dimension(spec, model)
        if dimension is None:
            with FileLock(model.with_suffix(".lock"), mode=file_mode(folder)):
                dimension = _exported_dimension(spec, model) or _export(spec, model)
    except OSError as error:
        raise ModelError(
            f"The exported backbone cannot be kept ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable.",
        ) from None
    return ExportedBackbone(spec, dimension, model, threads=threads)


def _exported_dimension(spec: BackboneSpec, model: Path) -> int | None:
    """Return the number of features of an exported file, or ``None`` where it is not there and whole."""
    try:
        description: dict[str, Any] = json.loads(model.with_suffix(".json").read_text())
        whole = (
            description["format"] == _FORMAT
            and description["key"] == spec.key
            and description["sha256"] == file_sha256(model)
            and description.get("description_sha256") in {None, _vouched(description)}  # earlier versions have none
        )
        return int(description["dimension"]) if whole else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _export(spec: BackboneSpec, model: Path) -> int:
    from clinical_backend.learner.backbones.onnx_export import export_onnx  # noqa: PLC0415 (imports torch)

    _log.info("Exporting the backbone %s; this happens once.", spec.key)
    export = export_onnx(spec)
    write_aside(model, export.model)
    description: dict[str, Any] = {
        "format": _FORMAT,
        "key": spec.key,
        "dimension": export.dimension,
        "sha256": hashlib.sha256(export.model).hexdigest(),
        "versions": export.versions,
    }
    session = _open_session(model, 1)
    found = session.run(None, {"pixels": export.probe})[0]
    error = np.abs(found - export.expected).max() / np.abs(export.expected).max()
    if not error <= _TOLERANCE:  # so that a NaN is refused, too
        raise ModelError(
            f"The export of the backbone {spec.architecture} gives other features (difference {error:.1e}).",
            "Choose another architecture, or report this with the versions of torch, onnx and onnxruntime.",
        )
    description["description_sha256"] = _vouched(description)
    write_aside(model.with_suffix(".json"), json.dumps(description, indent=2).encode())
    return export.dimension


def _vouched(description: dict[str, Any]) -> str:
    """Return the sha256 of a description; the entry ``sha256`` is that of the model, and checked by itself."""
    return description_digest({name: value for name, value in description.items() if name != "description_sha256"})


def _open_session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait would take the CPU from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
