"""The file that a portable model is kept in: ONNX, with what is known of it as metadata, and a digest at its end."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import onnx

from clinical_backend.errors import ModelError
from clinical_backend.system.files import write_aside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FORMAT", "check_digest", "read_description", "sealed", "write_model"]

FORMAT = 1
"""Of the metadata. A reader refuses files of a later one."""

_DIGEST = "sha256"
_CURE = "Export the model again with `clinical export-model`, or fetch the file again from where it came."


def sealed(model: onnx.ModelProto, description: Mapping[str, Any]) -> bytes:
    """Return the content of the file: the same model and description give the same bytes.

    Each entry of the description is one of ONNX's metadata, as JSON. The last entry is the sha256 of all that stands
    before it: messages of protobuf may be put one behind the other, so that the file is plain ONNX nevertheless.

    Parameters
    ----------
    model
        The graph. Its metadata are replaced.
    description
        What is known of it, as JSON has it.
    """
    written = onnx.ModelProto()
    written.CopyFrom(model)
    entries = {"format": FORMAT, **description}
    onnx.helper.set_model_props(
        written, {name: json.dumps(value, ensure_ascii=False, allow_nan=False) for name, value in entries.items()}
    )
    content: bytes = written.SerializeToString(deterministic=True)
    return content + _seal(content)


def write_model(path: Path, content: bytes) -> None:
    """Write a model's file; one that is there already is replaced in one step.

    Raises
    ------
    ModelError
        When it cannot be written.
    """
    try:
        write_aside(path, content)
    except OSError as error:
        raise ModelError(
            f"The model cannot be written ({error.strerror}).", "Free some space, or name a file in another folder."
        ) from None


def check_digest(content: bytes) -> None:
    """Make sure that a file is as it was exported.

    The digest tells accidents and edits, not a forger who makes a digest of his own: for that the file's own sha256,
    which the export prints, has to come by another way.

    Raises
    ------
    ModelError
        When it is no file of a portable model, was cut off, or was changed since it was exported.
    """
    seal = _seal(b"")
    start = len(content) - len(seal)
    same = len(seal) - hashlib.sha256().digest_size * 2  # what a seal begins with, whatever its digest
    if start <= 0 or content[start : start + same] != seal[:same]:
        raise ModelError("The file is not a model that was exported whole.", _CURE)
    if content[start:] != _seal(content[:start]):
        raise ModelError("The model was changed since it was exported: its digest is of another content.", _CURE)


def read_description(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what ONNX's metadata say of a model.

    Raises
    ------
    ModelError
        When they are of a later format, or of no portable model.
    """
    try:
        found = {name: json.loads(value) for name, value in metadata.items() if name != _DIGEST}
        written = int(found["format"])
    except (ValueError, LookupError, TypeError):
        raise ModelError("The file is not a model that `clinical export-model` wrote.", _CURE) from None
    if written > FORMAT:
        raise ModelError(
            f"The model was exported by a newer version of clinical-backend (format {written}, known is {FORMAT}).",
            "Install that version or a newer one here, or export the model with this one.",
        )
    return found


def _seal(content: bytes) -> bytes:
    end = onnx.ModelProto()
    end.metadata_props.add(key=_DIGEST, value=hashlib.sha256(content).hexdigest())
    sealing: bytes = end.SerializeToString(deterministic=True)
    return sealing
