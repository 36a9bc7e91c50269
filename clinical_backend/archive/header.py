"""What a DICOM file says of itself, as far as it may be known: no name, no date, no free text."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import unicodedata
import warnings
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

import pydicom
from pydicom.tag import Tag
from pydicom.uid import UID

from clinical_backend.archive.deflate import inflated
from clinical_backend.errors import ArchiveError
from clinical_backend.images.decoders.decoding import PREAMBLE, has_preamble, is_dicom

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydicom import Dataset

__all__ = ["ADMISSION", "FIELDS", "TAGS", "Header", "described", "header_of", "read_header"]

# What pydicom complains of quotes values, which may be a patient's.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID"),
    *("Modality", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality", "Manufacturer"),
    *("Rows", "Columns", "NumberOfFrames", "PatientAge", "PatientSex", "StudyDate", "PatientName"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "BurnedInAnnotation", "ConversionType"),
    *("ImageType", "SpecimenLabelInImage", "MediaStorageSOPClassUID"),
    *("OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "OtherPatientIDs", "AccessionNumber"),
)
"""The attributes that are read of a file or asked of an archive. Names are read to keep them out of the others."""

ADMISSION = (
    *("SOPClassUID", "MediaStorageSOPClassUID", "SOPInstanceUID"),
    *("Rows", "Columns", "NumberOfFrames", "BurnedInAnnotation", "ConversionType", "ImageType", "SpecimenLabelInImage"),
)
"""The attributes that tell which object it is, and whether it is left out."""

FIELDS = ("modality", "body_part", "view", "laterality", "manufacturer", "rows", "columns", "age", "sex")
"""Names of what a task may say of an object."""

_NUMBER_OF = {name: Tag(name) for name in TAGS}
"""To look a name up for each value of each object takes pydicom a third of the time of reading it."""

_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName")
_NUMBERS = ("PatientID", "OtherPatientIDs", "AccessionNumber")

_CODE = re.compile(r"[A-Z0-9][A-Z0-9_ ]{0,15}")
"""A value of representation CS (PS3.5, 6.2), which Modality, BodyPartExamined and ViewPosition have."""
_MAKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,&+/-]{0,63}")
_SHEET = re.compile(r"SCREEN[ _]?SAVE|SOM\d+ PROT|DOSE[ _](REPORT|INFO)")
"""In the Image Type of captures and sheets that scanners of GE, Siemens and Philips store as if they were slices."""
_AGE = re.compile(r"(\d{3})([DWMY])")
_LATERALITIES = {"L": "left", "R": "right", "B": "both"}
_SEXES = {"F": "female", "M": "male", "O": "other"}
_OLDEST = 90
"""Ages above 89 are one group: the safe harbour of HIPAA, 45 CFR 164.514(b)(2)(i)(C)."""
_SHORTEST_PART = 3  # of a name or a number: shorter ones stand in any word, so only a whole word is one
_MOST_DIGITS = 5  # a date has six or more, a model's number hardly so many
_LONGEST_SIDE = 65_535  # of representation US
_MODALITIES = frozenset(
    {
        *("AR", "BI", "BMD", "CR", "CT", "DG", "DX", "ES", "GM", "IO", "IVOCT", "IVUS", "KER", "LS", "MG", "MR", "NM"),
        *("OAM", "OCT", "OP", "OPM", "OPT", "OPV", "OT", "PT", "PX", "RF", "RG", "RTIMAGE", "SM", "TG", "US", "XA"),
        *("XC",),
    }
)
"""Defined terms of images (PS3.3, C.7.3.1.1.1): no names, also where a number begins with them, as CT-0001."""
_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "ł": "l", "đ": "d"})
"""Letters that are written as others where there are none but those of ASCII."""
_PIECE = 2**20
_FRAMES = 100_000
"""More than any cine loop has: a greater number is a fault."""


@dataclass(frozen=True, slots=True)
class Header:
    """A DICOM object.

    Attributes
    ----------
    patient, study, series, instance
        Identifiers as the file has them, empty where it lacks them. They never leave this machine.
    fields
        What a task may say of it, by the names of the task's fields.
    year
        Of the study; ``None`` where it is not known.
    frames
        How many images it holds.
    order
        Sorts the images of a series as they lie in the body, else by number.
    left_out
        Why it is not imported, for people; empty where it is.
    secondary
        Whether that is because it is a capture of a screen or a paper, or a scanner's sheet.
    """

    patient: str
    study: str
    series: str
    instance: str
    fields: Mapping[str, str | int] = field(default_factory=dict)
    year: int | None = None
    frames: int = 1
    order: tuple[float, int] = (0.0, 0)
    left_out: str = ""
    secondary: bool = False

    def reason_against(self, *, secondary: bool) -> str:
        """Return why it is not imported, for people; empty where it is.

        Parameters
        ----------
        secondary
            Whether secondary captures are imported.
        """
        return "" if secondary and self.secondary else self.left_out


def header_of(file: IO[bytes], keywords: Sequence[str] = TAGS) -> Header | None:
    """Return what a file says of itself; ``None`` where it is no DICOM file.

    One that lacks its identifier has the sha256 of its content in its place.

    Parameters
    ----------
    file
        Read from its start.
    keywords
        Those of :data:`TAGS` that are read: what only others say is left empty.
    """
    start = file.read(PREAMBLE)
    if not is_dicom(start):
        return None
    file.seek(0)
    tags = [_NUMBER_OF[name] for name in keywords]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(inflated(file), force=True, stop_before_pixels=True, specific_tags=tags)
            dataset.MediaStorageSOPClassUID = dataset.file_meta.get("MediaStorageSOPClassUID", "")
            header = read_header(dataset)
        except Exception:  # noqa: BLE001 - pydicom raises errors of every kind on what is damaged
            return None
    if not header.instance and not header.left_out:
        file.seek(0)
        header = replace(header, instance=_digest(file))
    return header if has_preamble(start) or header.instance or not header.left_out else None


def _digest(file: IO[bytes]) -> str:
    """Return the sha256 of the rest of a file, which may be larger than the memory."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def described(file: IO[bytes]) -> Dataset:
    """Return all that a file says, without its pixels.

    Raises
    ------
    ArchiveError
        When it is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(inflated(file), force=True, stop_before_pixels=True)
        except Exception:  # noqa: BLE001 - pydicom raises errors of every kind on what is damaged
            raise ArchiveError("A DICOM file is damaged.", "Leave it out.") from None


def read_header(dataset: Dataset) -> Header:
    """Return what may be known of a DICOM object; what is of no use or wrong in it is left out.

    Parameters
    ----------
    dataset
        With the attributes of :data:`TAGS`, as far as there are any.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom complains of quotes values
        return _read(dataset)


def _read(dataset: Dataset) -> Header:
    left_out, secondary = _left_out(dataset)
    frames = _whole(_value(dataset, "NumberOfFrames"))
    return Header(
        patient="\\".join(filter(None, (_text(dataset, "PatientID"), _text(dataset, "IssuerOfPatientID")))),
        study=_text(dataset, "StudyInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        instance=_text(dataset, "SOPInstanceUID"),
        fields=_fields(dataset),
        year=_year(_text(dataset, "StudyDate")),
        frames=frames if frames is not None and 1 <= frames <= _FRAMES else 1,
        order=(_height(dataset), _whole(_value(dataset, "InstanceNumber")) or 0),
        left_out=left_out,
        secondary=secondary,
    )


def _left_out(dataset: Dataset) -> tuple[str, bool]:
    """Return why an object is not imported, and whether it is for being a secondary capture."""
    kind = UID(_text(dataset, "SOPClassUID") or _text(dataset, "MediaStorageSOPClassUID")).name
    if reason := _against(kind, dataset):
        return reason, False
    if "Secondary Capture" in kind or _text(dataset, "ConversionType"):
        return "a secondary capture, which often shows names", True
    if _SHEET.search(_text(dataset, "ImageType").upper()):
        return "a screen, a protocol or a dose sheet, which often shows names", True
    return "", False


def _against(kind: str, dataset: Dataset) -> str:
    """Return why an object of a kind is imported in no case."""
    for words, reason in (
        (("SR Storage", "Structured Report", " SR", "Key Object"), "a report"),
        (("Presentation State",), "a presentation state"),
        (("Encapsulated",), "a document"),
        (("Directory",), "a directory of files"),
        (("RT Plan", "RT Structure", "RT Beams", "RT Ion", "RT Brachy", "RT Treatment", "Waveform"), "no image"),
        (("RT Dose", "Segmentation", "Registration"), "no picture of a patient but what was made of one"),
    ):
        if any(word in kind for word in words):
            return reason
    if _text(dataset, "BurnedInAnnotation").upper() == "YES":
        return "its pixels hold text that may name the patient (Burned In Annotation)"
    if _whole(_value(dataset, "Rows")) is None or _whole(_value(dataset, "Columns")) is None:
        return "no image"
    return _against_slide(dataset) if "Whole Slide" in kind else ""


def _against_slide(dataset: Dataset) -> str:
    """Return why a slide's image is not imported; its label bears a name or a number as a rule (PS3.3, C.8.12.4)."""
    if _text(dataset, "SpecimenLabelInImage").upper() == "YES" or "'LABEL'" in _text(dataset, "ImageType").upper():
        return "it shows the label of a slide, which may name the patient"
    tiles = _whole(_value(dataset, "NumberOfFrames")) or 1
    return "a slide in tiles, none of which shows it: export it as one image" if tiles > 1 else ""


def _fields(dataset: Dataset) -> dict[str, str | int]:
    """Return the allow-listed facts; a text that holds a part of the patient's name or number is none."""
    laterality = _text(dataset, "ImageLaterality") or _text(dataset, "Laterality")
    found: dict[str, str | int | None] = {
        "modality": _matching(_CODE, _text(dataset, "Modality")),
        "body_part": _matching(_CODE, _text(dataset, "BodyPartExamined")),
        "view": _matching(_CODE, _text(dataset, "ViewPosition")),
        "laterality": _LATERALITIES.get(laterality.upper()),
        "manufacturer": _matching(_MAKER, _text(dataset, "Manufacturer")),
        "rows": _side(_value(dataset, "Rows")),
        "columns": _side(_value(dataset, "Columns")),
        "age": _decade(_text(dataset, "PatientAge")),
        "sex": _SEXES.get(_text(dataset, "PatientSex").upper()),
    }
    secrets = _Secrets(dataset)
    return {
        name: value
        for name, value in found.items()
        if value is not None
        and ((name == "modality" and value in _MODALITIES) or not (isinstance(value, str) and secrets.stand_in(value)))
    }


class _Secrets:
    """What names a patient, and so may stand in no field.

    Parameters
    ----------
    dataset
        Says it.
    """

    def __init__(self, dataset: Dataset) -> None:
        names, numbers = (
            [spelling for name in kind for spelling in _spellings(_text(dataset, name))] for kind in (_NAMES, _NUMBERS)
        )
        self._parts = {part for text in (*names, *numbers) for part in _words(text) if len(part) >= _SHORTEST_PART}
        # Of a number only the whole: one such as PA-0001 does not forbid the view PA.
        self._words = {word for text in names for word in _words(text)} | set(numbers)

    def stand_in(self, text: str) -> bool:
        """Tell whether a text holds a part of a name or a number, or as many digits as a date."""
        folded = text.casefold()
        return (
            sum(map(str.isdigit, text)) > _MOST_DIGITS
            or any(part in folded for part in self._parts)
            or not self._words.isdisjoint(_words(folded))
        )


def _spellings(text: str) -> set[str]:
    """Return a text without capitals, as it is and in the ways that it is written without accents."""
    folded = text.casefold()
    return {
        folded,
        *(_without_accents(one) for one in (folded, unicodedata.normalize("NFC", folded).translate(_LETTERS))),
    }


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def _words(text: str) -> set[str]:
    return set(filter(None, re.split(r"[\W_]+", text)))


def _value(dataset: Dataset, name: str) -> Any:  # noqa: ANN401 - as the file has it
    tag = _NUMBER_OF[name]
    try:
        return dataset[tag].value if tag in dataset else None
    except Exception:  # noqa: BLE001 - pydicom raises errors of every kind on a value that is damaged
        return None


def _text(dataset: Dataset, name: str) -> str:
    value = _value(dataset, name)
    return "" if value is None else str(value).strip().strip("\0")


def _whole(value: Any) -> int | None:  # noqa: ANN401 - as the file has it
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if number >= 0 else None


def _side(value: Any) -> int | None:  # noqa: ANN401 - as the file has it
    number = _whole(value)
    return None if number is None or number > _LONGEST_SIDE else number


def _matching(pattern: re.Pattern[str], text: str) -> str | None:
    return text if pattern.fullmatch(text) else None


def _decade(age: str) -> str | None:
    """Return the decade of an age of representation AS, such as ``063Y``."""
    match = _AGE.fullmatch(age)
    if match is None:
        return None
    years = int(match[1]) if match[2] == "Y" else 0 if match[2] in "DW" else int(match[1]) // 12
    return f"{_OLDEST}+" if years >= _OLDEST else f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def _year(date: str) -> int | None:
    return int(date[:4]) if re.fullmatch(r"(19|20)\d{6}", date) else None


def _height(dataset: Dataset) -> float:
    """Return how far along the normal of its plane an image lies, in millimetres (PS3.3, C.7.6.2)."""
    try:
        x, y, z = map(float, _value(dataset, "ImagePositionPatient"))
        a, b, c, d, e, f = map(float, _value(dataset, "ImageOrientationPatient"))
    except (ValueError, TypeError):
        return 0.0
    height = (b * f - c * e) * x + (c * d - a * f) * y + (a * e - b * d) * z
    return height if math.isfinite(height) else 0.0
