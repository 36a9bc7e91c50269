"""Which objects of a DICOMweb archive are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from clinical_backend.archive.attributes import is_uid, values_of
from clinical_backend.errors import ArchiveError
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Filters", "ignored", "match_from", "matches_from"]

_STUDY = frozenset(
    {
        *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
        *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
        *("StudyID", "StudyDescription", "InstitutionName"),
    }
)
_SERIES = frozenset(
    {
        *("SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime", "BodyPartExamined", "Laterality"),
        *("ProtocolName", "Manufacturer", "StationName", "PatientPosition"),
        *("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
    }
)
"""Attributes that all of a study or a series have in common (PS3.18, 10.6.1.2.3); any other is asked of the objects."""
_OWN = {
    "StudyInstanceUID": "--study",
    "SeriesInstanceUID": "--series",
    "Modality": "--modality",
    "ModalitiesInStudy": "--modality",
}
_MODALITY = re.compile(r"[A-Z0-9_ ]{1,16}")  # representation CS (PS3.5, 6.2)
_LONGEST = 200  # of a value; an identifier has 64 characters
_COMPARED = {"AS", "CS", "DA", "LO", "SH", "UI"}  # names, times and numbers match in ways of the archive's own
_SEARCHED = _COMPARED | {"AE", "DS", "DT", "IS", "PN", "SL", "SS", "TM", "UL", "US"}


@dataclass(frozen=True)
class Filters:
    """What is asked for; all of an archive where nothing is given.

    Attributes
    ----------
    studies, series
        UIDs; objects of any of them are wanted.
    modalities
        Such as ``MG``; objects of any of them are wanted.
    matches
        Values by the keywords of attributes, with ``*`` and ``?``, and for dates ``20200101-20201231``; all must
        match.

    Raises
    ------
    ArchiveError
        When one is not what it should be.
    """

    studies: Sequence[str] = ()
    series: Sequence[str] = ()
    modalities: Sequence[str] = ()
    matches: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no archive could understand, or takes for something else."""
        if not all(is_uid(uid) for uid in (*self.studies, *self.series)):
            raise ArchiveError(
                "A study or a series is not given by its UID.", "UIDs are of digits and dots, as 1.2.840.1."
            )
        if not all(_MODALITY.fullmatch(modality) for modality in self.modalities):
            raise ArchiveError("A modality is none.", "Modalities are capital letters, such as MG, CR or US.")
        for name, value in self.matches.items():
            match_from(f"{name}={value}")

    @cached_property
    def of_studies(self) -> dict[str, str]:
        """What is asked of studies."""
        return {name: value for name, value in self.matches.items() if name in _STUDY}

    @cached_property
    def of_series(self) -> dict[str, str]:
        """What is asked of series."""
        return {name: value for name, value in self.matches.items() if name in _SERIES}

    @cached_property
    def of_objects(self) -> dict[str, str]:
        """What is asked of objects."""
        return {name: value for name, value in self.matches.items() if name not in _STUDY | _SERIES}


def match_from(text: str) -> tuple[str, str]:
    """Return keyword and value of an option such as ``PatientID=4711``; the keyword may be a tag of eight digits.

    Raises
    ------
    ArchiveError
        When it is none.
    """
    name, sign, value = (part.strip() for part in text.partition("="))
    if re.fullmatch("[0-9A-Fa-f]{8}", name):
        name = keyword_for_tag(int(name, 16))
    tag = tag_for_keyword(name) if name else None
    if tag is None or dictionary_VR(tag) not in _SEARCHED:
        raise ArchiveError(
            f"The filter '{printable(name)}' is not an attribute of DICOM.", "Write it as --match PatientID=4711."
        )
    if name in _OWN:
        raise ArchiveError(f"The filter {name} has an option of its own.", f"Give {_OWN[name]} instead.")
    if not sign or not value or len(value) > _LONGEST or not value.isprintable():
        raise ArchiveError(f"The filter {name} has no value.", "Write it as --match PatientID=4711.")
    return name, value


def matches_from(texts: Iterable[str]) -> dict[str, str]:
    """Return what options such as ``PatientID=4711`` ask for, by keyword.

    Raises
    ------
    ArchiveError
        As :func:`match_from`, and when two ask the same attribute: an archive heeds one of them.
    """
    matches: dict[str, str] = {}
    for name, value in map(match_from, texts):
        if name in matches:
            raise ArchiveError(f"The filter {name} is given twice.", "Run the import once for each of its values.")
        matches[name] = value
    return matches


def ignored(matches: Mapping[str, str], entry: object) -> str | None:
    """Return the first filter that an answer's entry contradicts: the archive does not heed it."""
    for name, wanted in matches.items():
        kind = dictionary_VR(name)
        values = [str(value) for value in values_of(entry, name)]
        if values and kind in _COMPARED and not any(_agrees(kind, wanted, value) for value in values):
            return name
    return None


def _agrees(kind: str, wanted: str, value: str) -> bool:
    if kind == "DA" and "-" in wanted:
        first, _, last = wanted.partition("-")
        return (first or value) <= value <= (last or value)
    parts = ("." if sign == "?" else ".*" if sign == "*" else re.escape(sign) for sign in wanted)
    # Of several values, separated as a list of UIDs is, one suffices (PS3.18, 8.3.4.1).
    pattern = "".join(parts).replace(",", "|").replace(re.escape("\\"), "|")
    return re.fullmatch(pattern, value.strip(), re.IGNORECASE | re.DOTALL) is not None
