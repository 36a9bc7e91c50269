"""Filters are what an archive understands, and what it does not heed is noticed."""

from __future__ import annotations

import pytest

from clinical_backend.archive.attributes import entry_of
from clinical_backend.archive.filters import Filters, ignored, match_from, matches_from
from clinical_backend.errors import ArchiveError


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("PatientID=4711", ("PatientID", "4711")),
        (" PatientID = a=b ", ("PatientID", "a=b")),
        ("00100020=4711", ("PatientID", "4711")),
        ("StudyDate=20200101-20201231", ("StudyDate", "20200101-20201231")),
        ("PatientName=Müller*", ("PatientName", "Müller*")),
    ],
)
def test_a_match_is_an_attribute_and_a_value(text, match):
    assert match_from(text) == match


@pytest.mark.parametrize(
    "text",
    [
        *("", "PatientID", "PatientID=", "=4711", "Nonsense=1", "limit=1", "includefield=all", "99999999=1", "a&b=1"),
        *("PixelData=1", "ReferencedSeriesSequence=1", "PatientID=a\nb", f"PatientID={'x' * 300}"),
        *("StudyInstanceUID=1.2", "SeriesInstanceUID=1.2", "Modality=MR", "ModalitiesInStudy=MR"),
    ],
)
def test_what_is_no_match_is_refused(text):
    with pytest.raises(ArchiveError):
        match_from(text)


@pytest.mark.parametrize(
    "options",
    [
        {"studies": ["1.2/3"]},
        {"studies": [".."]},
        {"series": [""]},
        {"modalities": ["mr&x"]},
        {"modalities": [""]},
        {"matches": {"limit": "1"}},
    ],
)
def test_what_is_no_filter_is_refused(options):
    with pytest.raises(ArchiveError):
        Filters(**options)


def test_each_attribute_is_asked_where_it_is_known():
    filters = Filters(matches={"PatientID": "4711", "BodyPartExamined": "BREAST", "ViewPosition": "CC"})
    assert (filters.of_studies, filters.of_series, filters.of_objects) == (
        {"PatientID": "4711"},
        {"BodyPartExamined": "BREAST"},
        {"ViewPosition": "CC"},
    )


@pytest.mark.parametrize(
    ("name", "wanted", "value", "heeded"),
    [
        ("PatientID", "4711", "4711", True),
        ("PatientID", "4711", "4712", False),
        ("PatientID", "47*", "4712", True),
        ("PatientID", "471?", "4712", True),
        ("PatientID", "471?", "47123", False),
        ("PatientID", "[4711]", "4", False),
        ("PatientID", "a.c", "abc", False),
        ("BodyPartExamined", "breast", "BREAST", True),
        ("SOPClassUID", "1.2,1.3", "1.3", True),
        ("SOPClassUID", "1.2\\1.3", "1.3", True),
        ("StudyDate", "20200101-20201231", "20200229", True),
        ("StudyDate", "20200101-20201231", "20210101", False),
        ("StudyDate", "-20201231", "20200229", True),
        ("StudyDate", "20200101-", "20190229", False),
        ("PatientName", "doe", "Doe^Jane", True),
        ("InstanceNumber", "1", 1, True),
    ],
)
def test_a_filter_that_is_not_heeded_is_noticed(name, wanted, value, heeded):
    assert ignored({name: wanted}, entry_of({name: [value]})) == (None if heeded else name)


def test_what_the_archive_does_not_say_is_not_held_against_it():
    assert ignored({"PatientID": "4711"}, {}) is None


def test_of_two_filters_of_one_attribute_none_is_passed_by_in_silence():
    texts = ["PatientID=1", "StudyDate=20200101"]
    assert matches_from(texts) == {"PatientID": "1", "StudyDate": "20200101"}
    with pytest.raises(ArchiveError, match="PatientID is given twice"):
        matches_from([*texts, "00100020=2"])
