"""DICOM attributes as QIDO-RS writes them in JSON (PS3.18, annex F): nothing in them is trusted."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from pydicom import DataElement, Dataset
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR, tag_for_keyword

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["dataset_of", "entry_of", "is_uid", "text_of", "values_of"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64  # PS3.5, 9.1; leading zeros, which it forbids, occur
_LONGEST = 1024  # characters; the longest of the short text kinds, LO and PN, have 64 and 5 × 64
_MOST_VALUES = 16  # ImageOrientationPatient has 6, ImageType some more


def is_uid(text: str) -> bool:
    """Tell whether a text is a UID, and so safe as a part of a path."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def values_of(entry: object, keyword: str) -> list[str | int | float]:
    """Return the values that an entry has of an attribute; what is none, or too long, is left out.

    Parameters
    ----------
    entry
        One of an answer's objects.
    keyword
        As ``PatientID``.
    """
    attribute = entry.get(_number(keyword)) if isinstance(entry, dict) else None
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    if not isinstance(values, list):
        return []
    plain = (_plain(value) for value in values[:_MOST_VALUES])
    return [value for value in plain if value is not None]


def text_of(entry: object, keyword: str) -> str:
    """Return the first value as text; empty where there is none."""
    return next((str(value).strip().strip("\0") for value in values_of(entry, keyword)), "")


def entry_of(values: Mapping[str, list[str | int | float]]) -> dict[str, Any]:
    """Return an entry that says what values say, by keyword."""
    return {_number(keyword): {"Value": of} for keyword, of in values.items()}


def dataset_of(entries: Iterable[Mapping[str, Any]], keywords: Iterable[str]) -> Dataset:
    """Return a data set of what entries say of an object.

    Parameters
    ----------
    entries
        Of the object, then of its series and of its study: what the first lacks, the later ones give.
    keywords
        Attributes that are wanted; none is a sequence, and none is binary.
    """
    given = tuple(entries)
    dataset = Dataset()
    for keyword in keywords:
        values = next(filter(None, (values_of(entry, keyword) for entry in given)), None)
        tag = tag_for_keyword(keyword)
        if values is None or tag is None:
            continue
        kind = dictionary_VR(tag)  # the archive's own may be anything
        texts = [str(value) for value in values] if kind != "US" else values
        try:
            # A value that is not as it should be would be warned of, and quoted.
            dataset.add(
                DataElement(tag, kind, texts[0] if len(texts) == 1 else texts, validation_mode=pydicom_config.IGNORE)
            )
        except (ValueError, TypeError, OverflowError, AttributeError):
            continue
    return dataset


@cache
def _number(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"


def _plain(value: object) -> str | int | float | None:
    if isinstance(value, dict):  # a name, in up to three ways of writing
        value = value.get("Alphabetic")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return value if not isinstance(value, str) or len(value) <= _LONGEST else None
