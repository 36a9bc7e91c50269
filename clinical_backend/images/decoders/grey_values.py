"""Grey values of DICOM files, as a workstation shows them: modality, window or VOI table, padding (PS3.3, C.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.images.decoders.frame_groups import of_frame
from clinical_backend.images.decoders.levels import levels_between, levels_by_percentiles
from clinical_backend.images.decoders.lookup_tables import grey_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pydicom import Dataset

    from clinical_backend.images.decoders.levels import Window

__all__ = ["TAGS", "shown_grey"]

_PADDING = tuple((f"{kind}PixelPaddingValue", f"{kind}PixelPaddingRangeLimit") for kind in ("", "Float", "DoubleFloat"))
_WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")
_RESCALE = ("RescaleSlope", "RescaleIntercept")
TAGS = (
    *("ModalityLUTSequence", "VOILUTSequence"),
    *(name for pair in _PADDING for name in pair),
    *_RESCALE,
    *_WINDOW,
)
"""The names of the tags that tell how grey values are shown."""

# In files with many frames these stand frame by frame, or once for all (PS3.3, C.7.6.16).
_GROUPS = dict.fromkeys(_RESCALE, "PixelValueTransformationSequence") | dict.fromkeys(_WINDOW, "FrameVOILUTSequence")
_FUNCTIONS = {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
_UNUSABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class _FileWindow:
    """The window of a file (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""

    centre: float
    width: float
    function: str

    def levels(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return what values look like."""
        if self.function == "SIGMOID":
            real = values.astype(np.float64)  # changed in place: a large image is half of the memory that there is
            real -= self.centre
            real *= -4 / self.width
            with np.errstate(over="ignore"):
                np.exp(real, out=real)
            real += 1
            return levels_between(np.reciprocal(real, out=real), 0.0, 1.0)
        real = values.astype(np.float64, copy=False)
        centre, width = self.centre, self.width
        if self.function == "LINEAR":
            centre, width = centre - 0.5, width - 1
        if width == 0:
            return np.where(real > centre, np.uint8(255), np.uint8(0))
        return levels_between(real, centre - width / 2, centre + width / 2)


def shown_grey(
    stored: NDArray[Any],
    dataset: Dataset,
    frame: int,
    window: Window | None,
    coloured: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Return the grey levels of a frame.

    Parameters
    ----------
    stored
        Shape (rows, columns).
    dataset
        With the attributes of :data:`TAGS`, as far as there are any.
    frame
        The frame's number.
    window
        Which part of the values is shown, on the scale of what is shown without one.
    coloured
        Where values stand for colours, so that they do not count, of the same shape.

    Returns
    -------
    NDArray
        Of the same shape, uint8, 0 to 255.
    """
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    shown = _shown(dataset, frame)
    padding = _padding(stored, dataset)
    left_out = padding if coloured is None else padding | coloured
    if left_out.all():
        left_out = padding = np.zeros(stored.shape, dtype=bool)
    values = _of_modality(stored, shown, little=little, signed=bool(dataset.PixelRepresentation))
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    if window is None:
        levels = _by_file(values, shown, little=little)
    else:
        window = window.mirrored() if inverted else window
        levels = _by_window(values, shown, window)
    if levels is None:
        levels = np.zeros(stored.shape, dtype=np.uint8)
        levels[~left_out] = levels_by_percentiles(values[~left_out], window=window)
    if inverted:
        levels = 255 - levels
    levels[padding] = 0
    return levels


def _shown(dataset: Dataset, frame: int) -> dict[str, Any]:
    """Return what a frame's values are shown by, without what is empty, and without a window that is no number."""
    shown: dict[str, Any] = {}
    for name in ("ModalityLUTSequence", "VOILUTSequence", *_RESCALE, *_WINDOW):
        for place in (*(of_frame(dataset, frame, _GROUPS[name]) if name in _GROUPS else ()), dataset):
            try:
                value = place.get(name)
            except _UNUSABLE:
                if name in _RESCALE:  # a window of the values that they make would show something else
                    raise
                continue
            if value is not None and value != "" and (not hasattr(value, "__len__") or len(value)):
                shown[name] = value
                break
    return shown


def _padding(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Return where values stand for nothing; of the same shape."""
    for value, limit in _PADDING:
        first = dataset.get(value)
        if isinstance(first, (int, float)):
            last = dataset.get(limit)
            ends = np.array([first, last if isinstance(last, (int, float)) else first])
            if stored.dtype.kind == "f" or stored.itemsize == 2:
                ends = ends.astype(stored.dtype)  # devices write -2000 as 63536, which has the same bits
            low, high = np.sort(ends)
            padding: NDArray[np.bool_] = (stored >= low) & (stored <= high)
            return padding
    return np.zeros(stored.shape, dtype=bool)


def _of_modality(stored: NDArray[Any], shown: Mapping[str, Any], *, little: bool, signed: bool) -> NDArray[Any]:
    if "ModalityLUTSequence" in shown:
        return grey_table(shown["ModalityLUTSequence"][0], little=little, signed=signed).of(stored)
    if all(name in shown for name in _RESCALE) and (slope := float(shown["RescaleSlope"])):  # 0 would leave no image
        rescaled: NDArray[np.float64] = stored.astype(np.float64) * slope + float(shown["RescaleIntercept"])
        return rescaled
    return stored


def _window_of(shown: Mapping[str, Any]) -> _FileWindow | None:
    """Return the first window of a file; ``None`` where it has none that can be used."""
    try:
        centre, width = (float(np.atleast_1d(shown[name])[0]) for name in ("WindowCenter", "WindowWidth"))
    except _UNUSABLE:
        return None
    function = str(shown.get("VOILUTFunction", "")).strip().upper()
    function = function if function in _FUNCTIONS else "LINEAR"
    least = 1 if function == "LINEAR" else np.nextafter(0, 1)
    if not (np.isfinite(centre) and np.isfinite(width) and width >= least):
        return None
    return _FileWindow(centre, width, function)


def _by_window(values: NDArray[Any], shown: Mapping[str, Any], window: Window) -> NDArray[np.uint8] | None:
    """Return the levels that a window gives on the scale of the file's own; ``None`` where the file has none."""
    of_file = _window_of(shown)
    if of_file is None:
        return None
    low, high = window.between(of_file.centre - of_file.width / 2, of_file.centre + of_file.width / 2)
    return levels_between(values.astype(np.float64, copy=False), low, high)


def _by_file(values: NDArray[Any], shown: Mapping[str, Any], *, little: bool) -> NDArray[np.uint8] | None:
    """Return the levels that the window or the VOI LUT gives; ``None`` where there is none that can be used."""
    if (window := _window_of(shown)) is not None:
        return window.levels(values)
    try:
        if "VOILUTSequence" in shown:
            signed = bool(values.min() < 0)
            table = grey_table(shown["VOILUTSequence"][0], little=little, signed=signed)
            return levels_between(table.of(values).astype(np.float64), 0.0, 2.0**table.bits - 1)
    except _UNUSABLE:
        return None  # a damaged table: the image itself may be good
    return None
