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
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder, pixel_array  # type: ignore[attr-defined]
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    RLELossless,
)

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.code_streams import size_of
from clinical_backend.images.decoders.colour_profiles import in_srgb
from clinical_backend.images.decoders.frame_groups import TAGS as GROUP_TAGS
from clinical_backend.images.decoders.grey_values import TAGS as GREY_TAGS
from clinical_backend.images.decoders.grey_values import shown_grey
from clinical_backend.images.decoders.levels import levels_by_range, windowed
from clinical_backend.images.decoders.palettes import TAGS as PALETTE_TAGS
from clinical_backend.images.decoders.palettes import first_coloured, looked_up
from clinical_backend.images.decoders.pixel_shape import TAGS as SHAPE_TAGS
from clinical_backend.images.decoders.pixel_shape import with_square_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.uid import UID

    from clinical_backend.images.decoders.levels import Window

__all__ = ["FRAME_LIMIT", "count_frames", "decode_dicom"]

FRAME_LIMIT = 4096
"""Most frames that a file may have; a cine loop has hundreds."""

# What pydicom complains of quotes values, which may be a patient's.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

_ONE_SAMPLE = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_CONVERTED = {"RGB", "YBR_FULL", "YBR_FULL_422"}
_IN_THE_CODE = {"YBR_ICT", "YBR_RCT"}  # undone by the decoders of JPEG 2000
_COLOURED = {"COLOR", "MIXED"}  # grey below a palette's first value, and colours from there on (PS3.3, C.8.16.2.1.1)
_RETIRED = {"HSV", "ARGB", "CMYK", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "XYB"}
_READ = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPresentation"),
    *("ICCProfile", "OpticalPathSequence"),
    *SHAPE_TAGS,
    *GROUP_TAGS,
    *PALETTE_TAGS,
    *GREY_TAGS,
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
)
_NOT_NAMED = {
    "1.2.840.10008.1.2.4.110": "JPEG XL",
    "1.2.840.10008.1.2.4.111": "JPEG XL",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Transfer syntaxes that are newer than pydicom's dictionary."""
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
    YBR is converted, colour with more than 8 bits keeps its high bits, and an ICC profile's colours become sRGB's.
    Pixels that are no squares become squares. Tags that a single-frame grey image can be read without may be missing.
    Overlays and shutters are not drawn. Only tags about pixels are read.

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
            return _image(dataset, _chosen(dataset, frame), window, pixel_limit)
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
    try:
        _frames(dataset)
    except (ValueError, TypeError):
        dataset.NumberOfFrames = 1  # what is no number says nothing, and most files have one frame
    return dataset


def _check(dataset: Dataset, pixel_limit: int) -> None:
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ImageError("The DICOM file holds no image.", "Import the images of the study, not its reports or plans.")
    if _frames(dataset) > FRAME_LIMIT:
        raise ImageError(f"The DICOM file has more than {FRAME_LIMIT} frames.", "Import the frames that matter.")
    _check_syntax(dataset.file_meta.TransferSyntaxUID)
    _check_colours(dataset)
    if int(dataset.Rows) * int(dataset.Columns) > pixel_limit:
        raise ImageError(
            f"The DICOM image has more than {pixel_limit / 2**20:.0f} million pixels.",
            "Provide a smaller version of it.",
        )


def _check_syntax(syntax: UID) -> None:
    """Refuse by its name what no decoder here reads."""
    try:
        get_decoder(syntax)
    except NotImplementedError:
        name = _NOT_NAMED.get(syntax, syntax.name)
        name = "an unknown method" if name == syntax else name  # which is not quoted: it may be anything
        raise ImageError(
            f"The DICOM image is compressed with {name}, which is not read.",
            "Open it in a DICOM viewer, and export it again uncompressed or as PNG.",
        ) from None


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


def _image(dataset: Dataset, frame: int, window: Window | None, pixel_limit: int) -> Image.Image:
    """Return a frame as it is seen."""
    image = Image.fromarray(_pixels(dataset, frame, window))
    if image.mode == "RGB" and (profile := _profile(dataset)) is not None:
        image = in_srgb(image, profile)
    return with_square_pixels(image, dataset, frame, pixel_limit).convert("RGB")


def _pixels(dataset: Dataset, frame: int, window: Window | None) -> NDArray[np.uint8]:
    """Return grey levels of shape (rows, columns), or colours of shape (rows, columns, 3)."""
    stored = _stored(dataset, frame)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return windowed(looked_up(stored, dataset), window)
    if stored.ndim == 3:
        return windowed(levels_by_range(stored.view(f"u{stored.itemsize}"), int(dataset.BitsStored)), window)
    if dataset.get("PixelPresentation") in _COLOURED and PALETTE_TAGS[0] in dataset:
        coloured = stored >= first_coloured(dataset)
        grey = shown_grey(stored, dataset, frame, window, coloured)
        return np.where(coloured[..., None], windowed(looked_up(stored, dataset), window), grey[..., None])
    return shown_grey(stored, dataset, frame, window)


def _stored(dataset: Dataset, frame: int) -> NDArray[Any]:
    """Return a frame's values, shape (rows, columns), or (rows, columns, 3) of colours."""
    bits, high, allocated = (dataset.get(name) for name in ("BitsStored", "HighBit", "BitsAllocated"))
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax != RLELossless:
        _turn_as_compressed(dataset, frame)
        return pixel_array(dataset, index=frame)
    if allocated == 1 and syntax.is_little_endian and int(dataset.Rows) * int(dataset.Columns) % 8:
        return _single_bits(dataset, frame)
    below = high + 1 - bits if isinstance(high, int) and isinstance(bits, int) and high < allocated else 0
    if below <= 0:
        return pixel_array(dataset, index=frame)
    dataset.BitsStored = high + 1
    values = pixel_array(dataset, index=frame)
    dataset.BitsStored = bits
    if _fit(values, bits) and (values & (2**below - 1)).any():
        return pixel_array(dataset, index=frame)  # the values lie in the low bits, whatever is said of them
    return values >> below


def _turn_as_compressed(dataset: Dataset, frame: int) -> None:
    """Exchange rows and columns where the compressed frame has them the other way round: the header is wrong."""
    turned = int(dataset.Columns), int(dataset.Rows)
    if turned[0] == turned[1]:
        return
    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    stream = get_frame(
        dataset.PixelData,
        frame,
        number_of_frames=_frames(dataset),
        extended_offsets=offsets if all(offsets) else None,
    )
    if size_of(stream) == turned:
        dataset.Rows, dataset.Columns = turned


def _fit(values: NDArray[np.integer], bits: int) -> bool:
    """Tell whether values have at most so many bits."""
    least, most = (0, 2**bits) if values.dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    return least <= int(values.min()) and int(values.max()) < most


def _single_bits(dataset: Dataset, frame: int) -> NDArray[np.uint8]:
    """Return a frame of single bits, which may begin within a byte: pydicom reads such ones only all together."""
    count = int(dataset.Rows) * int(dataset.Columns)
    start = frame * count
    packed = np.frombuffer(dataset.PixelData[start // 8 : (start + count + 7) // 8], np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[start % 8 :][:count]
    return bits.reshape(int(dataset.Rows), int(dataset.Columns))


def _profile(dataset: Dataset) -> bytes | None:
    """Return the ICC profile of a file's colours: a slide scanner's stands with its optical path."""
    paths = dataset.get("OpticalPathSequence") or []
    profile = next((place.get("ICCProfile") for place in (dataset, *paths[:1]) if place.get("ICCProfile")), None)
    return profile if isinstance(profile, bytes) else None
