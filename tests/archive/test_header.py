"""A header says what may be known and nothing that names a patient."""

from __future__ import annotations

import contextlib
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset

from clinical_backend.archive.header import TAGS, read_header
from tests.archive.conftest import NUMBER, dicom

SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def test_allowed_facts_are_read_and_nothing_else():
    header = read_header(
        dicom(BodyPartExamined="CHEST", ViewPosition="PA", ImageLaterality="L", StationName="ROOM-7", Rows=8)
    )
    assert header.fields == {
        "modality": "CT",
        "body_part": "CHEST",
        "view": "PA",
        "laterality": "left",
        "manufacturer": "ACME Imaging",
        "rows": 8,
        "columns": 8,
        "age": "50-59",
        "sex": "female",
    }
    assert (header.patient, header.study, header.year, header.frames) == (NUMBER, "1.2.3", 2019, 1)


@pytest.mark.parametrize(
    ("age", "decade"),
    [("000Y", "0-9"), ("011M", "0-9"), ("006W", "0-9"), ("030M", "0-9"), ("089Y", "80-89"), ("090Y", "90+"),
     ("104Y", "90+"), ("54", None), ("1964", None), ("", None)],
)  # fmt: skip
def test_ages_are_told_in_decades_and_the_oldest_together(age, decade):
    assert read_header(dicom(PatientAge=age)).fields.get("age") == decade


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Manufacturer", "Erika Mustermann"),
        ("Manufacturer", "scanner of MUSTERMANN"),
        ("Manufacturer", "<b>x</b>"),
        ("BodyPartExamined", "MUSTERMANN"),
        ("BodyPartExamined", "left breast, see letter of Dr. Jones"),
        ("Modality", "PAT-4711-X"),
        ("PatientSex", "Erika"),
        ("ViewPosition", "1964-08-12"),
    ],
)
def test_a_field_that_holds_the_name_or_free_text_is_left_out(name, value):
    fields = read_header(dicom(**{name: value})).fields
    assert value not in fields.values()
    assert not any("mustermann" in str(one).lower() or "4711" in str(one) for one in fields.values())


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "a report"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "a presentation state"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "a document"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.5"}, "no image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "no picture of a patient but what was made of one"),
        ({"BurnedInAnnotation": "YES"}, "its pixels hold text that may name the patient (Burned In Annotation)"),
        ({"Rows": None}, "no image"),
        (
            {"SOPClassUID": SLIDE, "SpecimenLabelInImage": "YES"},
            "it shows the label of a slide, which may name the patient",
        ),
        (
            {"SOPClassUID": SLIDE, "ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]},
            "it shows the label of a slide, which may name the patient",
        ),
        (
            {"SOPClassUID": SLIDE, "NumberOfFrames": 9},
            "a slide in tiles, none of which shows it: export it as one image",
        ),
        ({"SOPClassUID": SLIDE, "SpecimenLabelInImage": "NO"}, ""),
    ],
)
def test_what_is_no_image_or_shows_names_is_left_out(tags, reason):
    header = read_header(dicom(**tags))
    assert (header.left_out, header.secondary) == (reason, False)


@pytest.mark.parametrize("tags", [{"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, {"ConversionType": "WSD"}])
def test_captures_of_a_screen_are_told_apart(tags):
    header = read_header(dicom(**tags))
    assert header.secondary
    assert "secondary capture" in header.left_out


@pytest.mark.parametrize(
    "kind",
    [
        ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"],
        ["DERIVED", "SECONDARY", "SCREEN SAVE"],
        ["DERIVED", "SECONDARY", "DOSE_INFO"],
    ],
)
def test_sheets_that_a_scanner_stores_as_if_they_were_slices_are_told_apart(kind):
    header = read_header(dicom(ImageType=kind))
    assert header.secondary
    assert "dose sheet" in header.left_out
    assert not read_header(dicom(ImageType=["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 SPI"])).left_out


def test_slices_are_ordered_along_the_body_and_else_by_their_number():
    orientation = [1, 0, 0, 0, 1, 0]
    low, high = (
        read_header(dicom(ImagePositionPatient=[9, 9, z], ImageOrientationPatient=orientation, InstanceNumber=number))
        for z, number in ((-3.5, 2), (4, 1))
    )
    assert low.order < high.order
    first, second = (read_header(dicom(InstanceNumber=number)) for number in (2, 10))
    assert first.order < second.order


@given(st.dictionaries(st.sampled_from(TAGS), st.text(max_size=20)))
def test_whatever_a_file_holds_a_header_is_read(values):
    dataset = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in values.items():
            with contextlib.suppress(ValueError, TypeError):
                setattr(dataset, name, value)
    header = read_header(dataset)
    assert header.frames >= 1
    assert set(header.fields) <= {
        "modality", "body_part", "view", "laterality", "manufacturer", "rows", "columns", "age", "sex"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "field"),
    [
        ({"PatientName": "Meyer-Schmidt^Eva", "Manufacturer": "Schmidt Imaging"}, "manufacturer"),
        ({"PatientName": "O'Brien^Ann", "Manufacturer": "BRIEN"}, "manufacturer"),
        ({"PatientName": "Müller^Jörg", "Manufacturer": "Mueller"}, "manufacturer"),
        ({"PatientName": "Müller^Jörg", "Manufacturer": "room of Jorg"}, "manufacturer"),
        ({"PatientName": "Weiß^Eva", "BodyPartExamined": "WEISS"}, "body_part"),
        ({"PatientName": "Li^Na", "Manufacturer": "Li"}, "manufacturer"),
        ({"PatientID": "42", "BodyPartExamined": "BED_42"}, "body_part"),
        ({"PatientID": "PAT-4711-X", "Manufacturer": "ACME 4711"}, "manufacturer"),
        ({"PatientBirthName": "Schulze", "BodyPartExamined": "SCHULZE"}, "body_part"),
        ({"OtherPatientIDs": ["A77B", "C88D"], "ViewPosition": "C88D"}, "view"),
        ({"AccessionNumber": "ACC991", "Manufacturer": "acc991"}, "manufacturer"),
        ({"BodyPartExamined": "19640812"}, "body_part"),
        ({"Manufacturer": "12.08.1964"}, "manufacturer"),
    ],
)
def test_no_spelling_of_a_name_or_number_nor_a_date_stands_in_a_field(tags, field):
    given = {"Manufacturer": "ACME", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
    assert field in read_header(dicom(**given)).fields
    assert field not in read_header(dicom(**given | tags)).fields


def test_a_number_that_begins_with_a_code_does_not_forbid_the_code():
    fields = read_header(dicom(PatientID="CT-0001", PatientName="PA-7^CT", ViewPosition="AP")).fields
    assert (fields["modality"], fields["view"]) == ("CT", "AP")


def test_sides_that_no_image_has_are_not_told():
    dataset = dicom()
    dataset[0x00280010] = DataElement(0x00280010, "IS", "99999999")
    assert "rows" not in read_header(dataset).fields
