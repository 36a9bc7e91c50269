"""DICOM files: one frame, as a workstation would show it."""

from __future__ import annotations

import logging
import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from PIL import Image
from pydicom import Dataset
from pydicom.pixels import pixel_array  # type: ignore[attr-defined]
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
)

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.levels import levels_between, levels_by_percentiles, levels_by_range, windowed
from clinical_backend.images.decoders.palettes import TAGS as PALETTE_TAGS
from clinical_backend.images.decoders.palettes import looked_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.images.decoders.levels import Window

__all__ = ["FRAME_LIMIT", "count_frames", "decode_dicom"]

FRAME_LIMIT = 4096
"""Most frames that a file may have; a cine loop has hundreds."""

# What pydicom complains of quotes values, which may be a patient's.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

_ONE_SAMPLE = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_CONVERTED = {"RGB", "YBR_FULL", "YBR_FULL_422"}
_IN_THE_CODE = {"YBR_ICT", "YBR_RCT"}  # undone by the decoders of JPEG 2000
_RETIRED = {"HSV", "ARGB", "CMYK", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "XYB"}
_SHOWN = (
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
)
# In files with many frames these stand frame by frame, or once for all (PS3.3, C.7.6.16).
_GROUPS = {
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
}
_READ = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *PALETTE_TAGS,
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
    *_SHOWN,
)
_TAGS_READ = [Tag(name) for name in _READ]  # to look all names up for each file takes a tenth of decoding a small one


def count_frames(data: bytes) -> int:
    """Return how many frames a DICOM file says that it has; one where it says nothing that can be read.

    One also where they are more than FRAME_LIMIT: decoding refuses the file as a whole.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(
                BytesIO(data), force=True, stop_before_pixels=True, specific_tags=["NumberOfFrames"]
            )
            count = _frames(dataset)
            return count if 1 <= count <= FRAME_LIMIT else 1
        except Exception:  # noqa: BLE001 - pydicom raises errors of every kind; decoding says what is wrong
            return 1


def decode_dicom(
    data: bytes, *, frame: int | None = None, window: Window | None = None, pixel_limit: int
) -> Image.Image:
    """Return a DICOM image as 8-bit RGB.

    Of n frames that with the number (n − 1) // 2, counted from 0, is taken, unless another is wanted. Grey values
    pass the modality LUT or rescale, then the first window, or the VOI LUT where there is no window; without either,
    their 0.1 and 99.9 percentiles become 0 and 255. MONOCHROME1 is inverted. Padding is black. Palettes are looked up,
    YBR is converted, and colour with more than 8 bits keeps its high bits. Tags that a single-frame grey image can be
    read without may be missing. Overlays are not drawn. Only tags about pixels are read.

    Parameters
    ----------
    data
        The file, with or without its preamble.
    frame
        The number of the frame that is wanted.
    window
        Which part of the values is shown. Grey values are taken as they are after the modality LUT, and the file's
        first window, or else the percentiles, are what the scale of the window refers to.
    pixel_limit
        Most pixels that a frame may have. Checked before any pixel is decoded.

    Returns
    -------
    PIL.Image.Image
        Mode RGB.

    Raises
    ------
    ImageError
        When the file holds no image, or one that is damaged, too large, or compressed in an unknown way.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = _read(data)
            _check(dataset, pixel_limit)
            return Image.fromarray(_pixels(dataset, _chosen(dataset, frame), window)).convert("RGB")
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - pydicom and its codecs raise errors of every kind
            raise ImageError(
                f"The DICOM file is damaged or of an unusual kind ({type(error).__name__}).",
                "Open it in a DICOM viewer, and export it again uncompressed or as PNG.",
            ) from None


def _read(data: bytes) -> Dataset:
    dataset = pydicom.dcmread(BytesIO(data), force=True, specific_tags=_TAGS_READ)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    if dataset.get("SamplesPerPixel") is None:
        dataset.SamplesPerPixel = 1
    if not dataset.get("PhotometricInterpretation"):
        dataset.PhotometricInterpretation = "MONOCHROME2" if dataset.SamplesPerPixel == 1 else "RGB"
    if dataset.get("PixelRepresentation") is None:
        dataset.PixelRepresentation = 0
    if dataset.get("BitsStored") is None and dataset.get("BitsAllocated") is not None:
        dataset.BitsStored = dataset.BitsAllocated
    return dataset


def _check(dataset: Dataset, pixel_limit: int) -> None:
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ImageError("The DICOM file holds no image.", "Import the images of the study, not its reports or plans.")
    if _frames(dataset) > FRAME_LIMIT:
        raise ImageError(f"The DICOM file has more than {FRAME_LIMIT} frames.", "Import the frames that matter.")
    _check_colours(dataset)
    if int(dataset.Rows) * int(dataset.Columns) > pixel_limit:
        raise ImageError(
            f"The DICOM image has more than {pixel_limit / 2**20:.0f} million pixels.",
            "Provide a smaller version of it.",
        )


def _check_colours(dataset: Dataset) -> None:
    """Refuse colours that nothing here converts, and a number of samples that contradicts them."""
    colours, samples = str(dataset.PhotometricInterpretation), int(dataset.SamplesPerPixel)
    if colours in _ONE_SAMPLE | _CONVERTED and samples == (1 if colours in _ONE_SAMPLE else 3):
        return
    if colours in _IN_THE_CODE and samples == 3 and dataset.file_meta.TransferSyntaxUID in JPEG2000TransferSyntaxes:
        return
    known = _ONE_SAMPLE | _CONVERTED | _IN_THE_CODE | _RETIRED
    raise ImageError(  # an unknown value is not quoted: it may be anything
        f"The DICOM image has colours that are not read: {colours if colours in known else 'of an unknown kind'}, "
        f"{samples} in a pixel.",
        "Open it in a DICOM viewer, and export it again as RGB or as PNG.",
    )


def _frames(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _chosen(dataset: Dataset, frame: int | None) -> int:
    """Return the number of the frame to read."""
    count = _frames(dataset)
    if frame is None:
        return (count - 1) // 2
    if frame >= count:
        raise ImageError(f"The DICOM file has {count} frames, and not number {frame + 1}.", "Export it again.")
    return frame


def _pixels(dataset: Dataset, frame: int, window: Window | None) -> NDArray[np.uint8]:
    """Return grey levels of shape (rows, columns), or colours of shape (rows, columns, 3)."""
    stored = pixel_array(dataset, index=frame)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return windowed(looked_up(stored, dataset), window)
    if stored.ndim == 3:
        return windowed(levels_by_range(stored.view(f"u{stored.itemsize}"), int(dataset.BitsStored)), window)
    return _grey(stored, dataset, frame, window)


def _grey(stored: NDArray[Any], dataset: Dataset, frame: int, window: Window | None) -> NDArray[np.uint8]:
    shown = _shown(dataset, frame)
    padding = _padding(stored, dataset)
    if padding.all():
        padding[:] = False
    values = apply_modality_lut(stored, shown)
    if window is not None and dataset.PhotometricInterpretation == "MONOCHROME1":
        window = window.mirrored()
    levels = _by_file(values, shown) if window is None else _by_window(values, shown, window)
    if levels is None:
        levels = np.zeros(stored.shape, dtype=np.uint8)
        levels[~padding] = levels_by_percentiles(values[~padding], window=window)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        levels = 255 - levels
    levels[padding] = 0
    return levels


def _shown(dataset: Dataset, frame: int) -> Dataset:
    """Return what a frame's values are shown by, empty tags left out."""
    shown = Dataset()
    for name in ("PhotometricInterpretation", "BitsStored", "PixelRepresentation"):
        setattr(shown, name, dataset.get(name))
    for name in _SHOWN:
        for place in (*_groups(dataset, frame, _GROUPS.get(name)), dataset):
            value = place.get(name)
            if value is not None and value != "" and (not hasattr(value, "__len__") or len(value)):
                setattr(shown, name, value)
                break
    return shown


def _groups(dataset: Dataset, frame: int, name: str | None) -> list[Dataset]:
    if name is None:
        return []
    every = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*every[frame : frame + 1], *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]]
    return [item for group in groups for item in (group.get(name) or [])[:1]]


def _padding(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Return where values stand for nothing; shape (rows, columns)."""
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(stored.shape, dtype=bool)
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((first, last if isinstance(last, int) else first))
    padding: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return padding


def _by_window(values: NDArray[Any], shown: Dataset, window: Window) -> NDArray[np.uint8] | None:
    """Return the levels that a window gives on the scale of the file's own; ``None`` where the file has none."""
    try:
        centre, width = (float(np.atleast_1d(shown[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
        return None
    if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
        return None
    low, high = window.between(centre - width / 2, centre + width / 2)
    return levels_between(values.astype(np.float64), low, high)


def _by_file(values: NDArray[Any], shown: Dataset) -> NDArray[np.uint8] | None:
    """Return the levels that the window or the VOI LUT gives; ``None`` where there is none that can be used."""
    try:
        if "WindowWidth" in shown and "WindowCenter" in shown:
            with np.errstate(over="ignore"):
                black, white = apply_windowing(np.array([-1e30, 1e30]), shown)
                return levels_between(apply_windowing(values, shown), float(black), float(white))
        if "VOILUTSequence" in shown:
            bits = int(shown.VOILUTSequence[0].LUTDescriptor[2])
            return levels_between(apply_voi(np.rint(values).astype(np.int64), shown), 0.0, 2.0**bits - 1)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
        return None  # a width of 0, a damaged table: the image itself may be good
    return None
