"""What a portable model says of the images of a folder. Neither a project nor the backend's state is needed."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clinical_backend.errors import ClinicalError, ImageError, InvalidArgumentError
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.images.sources import SIZE_LIMIT
from clinical_backend.system.parallel import map_in_order
from clinical_backend.text import csv_row, storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.learner.portable.portable_model import PortableModel

__all__ = ["ImagePrediction", "predict_folder", "write_predictions"]

_DECODERS = 2  # processes, as the backend has
_AHEAD = 3
"""Images that are decoded while one is predicted: of 64 million pixels at most, 200 MB each."""


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """What is said of an image.

    Attributes
    ----------
    file
        Its path within the folder.
    page
        Of a file with several images, the number of the page or frame, from 1.
    probabilities
        In the order of the model's classes, shape (C,); ``None`` where it cannot be read.
    problem
        Why it cannot; empty where it can.
    """

    file: str
    page: int | None
    probabilities: NDArray[np.float32] | None
    problem: str = ""


def predict_folder(model: PortableModel, folder: Path) -> Iterator[ImagePrediction]:
    """Yield what a model says of each image of a folder and of those within it, in the order of their paths.

    Hidden files, and links to folders, are passed over. Each page of a TIFF stack, and each frame of a DICOM
    file, is an image.

    Parameters
    ----------
    folder
        Or a single file.

    Raises
    ------
    InvalidArgumentError
        When it is not there.
    """
    if not folder.exists():
        raise InvalidArgumentError("FOLDER", "it is not there.", "Name a folder with images, or one image.")
    decoders = DecoderProcesses(processes=_DECODERS)
    try:
        decoded = map_in_order(
            lambda one: _decoded(decoders, *one), _pages(decoders, folder), workers=_DECODERS, look_ahead=_AHEAD
        )
        for file, page, pixels in decoded:
            if isinstance(pixels, str):
                yield ImagePrediction(file, page, None, pixels)
            else:
                yield ImagePrediction(file, page, model.probabilities(pixels))
    finally:
        decoders.close()


def write_predictions(
    model: PortableModel, predictions: Iterable[ImagePrediction], form: Literal["csv", "json"]
) -> Iterator[str]:
    """Yield predictions as text, piece by piece.

    Parameters
    ----------
    form
        ``csv`` with a heading, and a column for the probability of each class; ``json`` is a list of objects.
    """
    heading: list[object] = ["file", "page", "label", *(f"probability of {name}" for name in model.classes), "problem"]
    yield csv_row(heading) if form == "csv" else "["
    separator = "\n"
    for one in predictions:
        label = None if one.probabilities is None else model.label(one.probabilities)
        shares = [] if one.probabilities is None else [_digits(share) for share in one.probabilities.tolist()]
        if form == "csv":
            yield csv_row([one.file, one.page, label, *(shares or [""] * len(model.classes)), one.problem])
            continue
        found: dict[str, Any] = {"file": one.file, "page": one.page, "label": label, "problem": one.problem or None}
        found["probabilities"] = dict(zip(model.classes, map(float, shares), strict=True)) if shares else None
        yield separator + json.dumps(found, ensure_ascii=False)
        separator = ",\n"
    if form == "json":
        yield "\n]\n"


def _digits(share: float) -> str:
    return f"{share:.9g}"  # so many tell all numbers of float32 apart


def _pages(decoders: DecoderProcesses, folder: Path) -> Iterator[tuple[str, int | None, bytes | str]]:
    """Yield the images of a folder with their files' contents, or why these cannot be read."""
    for path in _files(folder):
        name = storable(os.fsencode(path.relative_to(folder) if path != folder else path.name).decode(errors="replace"))
        try:
            content = _content(path)
            count = decoders.count(content)
        except ClinicalError as error:
            yield name, None, str(error)
            continue
        for page in range(count):
            yield name, page + 1 if count > 1 else None, content


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        yield folder
        return
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(here, name)


def _content(path: Path) -> bytes:
    """Return what a file holds; a pipe or a device is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            content = file.read(SIZE_LIMIT + 1) if regular else b""
    except OSError as error:
        raise ImageError(f"The file cannot be read ({error.strerror}).", "Look who may read it.") from None
    if not regular:
        raise ImageError("It is no file.", "Put images there.")
    if len(content) > SIZE_LIMIT:
        raise ImageError(f"The file has more than {SIZE_LIMIT / 2**20:.0f} MiB.", "Provide a smaller version of it.")
    return content


def _decoded(
    decoders: DecoderProcesses, file: str, page: int | None, content: bytes | str
) -> tuple[str, int | None, NDArray[np.uint8] | str]:
    if isinstance(content, str):
        return file, page, content
    try:
        return file, page, decoders.decode(content, None if page is None else page - 1)
    except ImageError as error:
        return file, page, str(error)
