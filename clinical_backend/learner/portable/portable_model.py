"""A model in one file, ready to predict: ONNX Runtime runs it, and nothing but the file is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.artifact import sha256
from clinical_backend.learner.backbones.base import available_cpus
from clinical_backend.learner.backbones.exported import open_session
from clinical_backend.learner.portable.model_file import check_digest, read_description
from clinical_backend.multilabel import as_words, predicted

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["PortableModel"]


class PortableModel:
    """A portable model.

    Parameters
    ----------
    content
        Of its file.
    threads
        CPU threads; by default one for each CPU that this process may use.

    Attributes
    ----------
    description
        What its metadata say of it.
    classes
        Names of the classes, in the order of the probabilities.
    independent
        Whether an image may have several of them.

    Raises
    ------
    ModelError
        When the file is not one of a portable model, was changed, or is of a newer version.
    """

    def __init__(self, content: bytes, *, threads: int | None = None) -> None:
        check_digest(content)
        try:
            self._session = open_session(content, threads or available_cpus())
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a dozen, of no common base
            raise ModelError(
                f"ONNX Runtime does not take the model ({type(error).__name__}).",
                "Install the version of onnxruntime that its metadata name, or a newer one.",
            ) from None
        self.description: dict[str, Any] = read_description(self._session.get_modelmeta().custom_metadata_map)
        try:
            self.classes = tuple(str(name) for name in self.description["classes"])
            self.independent = bool(self.description["several_findings"])
        except (LookupError, TypeError):
            raise ModelError(
                "The model does not say which classes it knows.", "Export it again with `clinical export-model`."
            ) from None

    @classmethod
    def read(cls, path: Path, digest: str | None = None) -> PortableModel:
        """Return the model of a file.

        Parameters
        ----------
        digest
            Sha256 that the whole file is to have, as hexadecimal digits; by default any.

        Raises
        ------
        ModelError
            As above, or when the file cannot be read, or has another digest.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"The model cannot be read ({error.strerror}).", "Name a file that `clinical export-model` wrote."
            ) from None
        if digest is not None and sha256(content) != digest.strip().lower():
            raise ModelError(
                "The file has another sha256 than the one that was named.",
                "Compare it with what the export printed, and fetch the file again from where it came.",
            )
        return cls(content)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return how likely each class is, shape (C,), float32.

        Parameters
        ----------
        pixels
            Of an image of any size, shape (height, width, 3), uint8, RGB, upright.

        Raises
        ------
        InvalidArgumentError
            When the pixels have another shape or type.
        ModelError
            When the network gives a value that is not finite.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InvalidArgumentError(
                "pixels",
                f"its shape is {pixels.shape}, its type {pixels.dtype}.",
                "Give uint8 pixels of shape (height, width, 3).",
            )
        found: NDArray[np.float32] = self._session.run(None, {"pixels": np.ascontiguousarray(pixels)})[0]
        if not np.isfinite(found).all():
            raise ModelError("The model gives values that are not finite.", "Export it again.")
        return found

    def label(self, probabilities: NDArray[np.float32]) -> str:
        """Return what is predicted, for people: the likeliest class, or all findings that are likelier than not."""
        if self.independent:
            return as_words(predicted(self.classes, probabilities.tolist(), self.classes))
        return self.classes[int(probabilities.argmax())]
