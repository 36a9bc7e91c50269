"""Objects of a DICOMweb archive are found once and read whole: of a real Orthanc, and of archives that misbehave."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ComputedRadiographyImageStorage, RLELossless

from clinical_backend.archive import dicomweb
from clinical_backend.archive.access import ArchiveAccess
from clinical_backend.archive.dicomweb import DicomWeb
from clinical_backend.archive.exchange import Bounds
from clinical_backend.archive.filters import Filters
from clinical_backend.archive.found import Found, PassedOver
from clinical_backend.archive.header import TAGS, read_header
from clinical_backend.errors import ArchiveError, ClinicalError
from clinical_backend.lab.benchmarks.dicomweb import small_object
from clinical_backend.lab.servers.orthanc_server import OrthancServer
from tests.archive.false_archive import OBJECT, PARTS, SERIES, STUDY, FalseArchive, answer, entry, in_parts
from tests.images.servers import reply
from tests.tls import certificate, serving_tls

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
LARGE = 500_000  # bytes; which larger files there are says nothing more
USER, PASSWORD = "reader", "a secret: ö"
MADE = "1.2.826.0.1.3680043.8.498.1"

needs_orthanc = pytest.mark.skipif(not OrthancServer.installed(), reason="needs orthanc and orthanc-dicomweb")


def compressed(content):
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.compress(RLELossless, generate_instance_uid=False)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def generated():
    """Return a series of 16 bits, and one of other kinds of files."""
    series = [small_object(number, side=4) for number in range(25)]
    bare = small_object(100_000, 4, PatientID="", StudyDate="", ImagePositionPatient=None, InstanceNumber=None)
    others = [
        small_object(100, 4, PhotometricInterpretation="MONOCHROME1", SOPClassUID=ComputedRadiographyImageStorage),
        small_object(101, 4, NumberOfFrames=3, PixelData=bytes(3 * 4 * 4 * 2), Modality="CR"),
        compressed(small_object(102, 16)),
        bare,
        small_object(104, 4, BurnedInAnnotation="YES"),
    ]
    return series, others


@pytest.fixture(scope="module")
def stored():
    """Return files that are sent to the archive."""
    files = [file.read_bytes() for file in sorted(FILES.glob("*.dcm")) if file.stat().st_size < LARGE]
    series, others = generated()
    return files + series + others


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, stored):
    """Return a running Orthanc, and the files that it took."""
    kept = {}
    with OrthancServer(tmp_path_factory.mktemp("orthanc"), user=USER, password=PASSWORD) as server:
        for content in stored:
            try:
                server.store(content)
            except ClinicalError:  # pydicom ships files that are damaged, too
                continue
            kept.setdefault(str(pydicom.dcmread(io.BytesIO(content), force=True).SOPInstanceUID), content)
        yield server, kept


def opened(orthanc, filters=None, **options):
    return DicomWeb(ArchiveAccess(orthanc[0].dicomweb, USER, PASSWORD), filters, **options)


def names(found):
    return [one.name for one in found if isinstance(one, Found)]


@needs_orthanc
def test_each_object_is_found_once_in_an_order_that_is_the_same_each_time(orthanc):
    with opened(orthanc) as source:
        found = list(source.find())
        assert len(found) == len(orthanc[1]) > 60
        assert list(source.find()) == found
    assert {one.name.rpartition("/")[2] for one in found} == orthanc[1].keys()


@needs_orthanc
def test_each_object_is_read_as_it_was_stored(orthanc):
    with opened(orthanc) as source:
        read = {one.header.instance: source.read(one) for one in source.find() if isinstance(one, Found)}
    assert len(read) > 50
    assert read == {instance: orthanc[1][instance] for instance in read}


@needs_orthanc
def test_the_archive_says_of_an_object_what_its_file_says(orthanc):
    with opened(orthanc) as source:
        found = [one for one in source.find() if isinstance(one, Found)]
    for one in found:
        file = pydicom.dcmread(io.BytesIO(orthanc[1][one.header.instance]), force=True, specific_tags=list(TAGS))
        header = read_header(file)
        if one.header.order[0] == 0.0:  # Orthanc leaves out numbers that have more digits than they may
            header = dataclasses.replace(header, order=(0.0, header.order[1]))
        assert one.header == header


@needs_orthanc
def test_all_that_an_object_says_is_told_without_its_pixels(orthanc):
    with opened(orthanc) as source:
        found = [one for one in source.find() if isinstance(one, Found)]
        for one in found:
            file = pydicom.dcmread(io.BytesIO(orthanc[1][one.header.instance]), force=True, stop_before_pixels=True)
            said = source.describe(one)
            assert "PixelData" not in said
            for name in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "SOPClassUID", "Rows", "Modality"):
                assert (said.get(name) or None) == (file.get(name) or None)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b"[1]", b"[{}]", b'[{"00080018":{"vr":"UI","Value":["1.9"]}}]', b"[" * 10**6),
        *(b'[{"00080018":{"vr":"SQ","Value":[1]}}]', b'[{"x":1}]'),
    ],
)
def test_what_does_not_describe_the_object_is_refused(body):
    archive = FalseArchive()
    archive.instead["metadata"] = lambda request: reply(request, body)
    with archive.open() as source, pytest.raises(ArchiveError, match="does not say"):
        source.describe(next(source.find()))


def test_an_object_whose_character_set_is_no_text_is_described_in_that_of_json():
    archive = FalseArchive()
    with archive.open() as source:
        found = next(source.find())
        said = {"00080005": {"vr": "AT"}, "00080018": {"vr": "UI", "Value": [found.header.instance]}}
        archive.instead["metadata"] = lambda request: answer(request, [said])
        assert source.describe(found).SpecificCharacterSet == "ISO_IR 192"


@needs_orthanc
def test_what_is_no_picture_is_passed_over_with_its_reason(orthanc):
    with opened(orthanc) as source:
        reasons = {one.reason for one in source.find() if isinstance(one, PassedOver)}
    assert {"a report", "no image"} < reasons
    assert any("Burned In Annotation" in reason for reason in reasons)


@needs_orthanc
def test_a_series_comes_as_it_lies_in_the_body_over_many_pages(orthanc, monkeypatch):
    monkeypatch.setattr(dicomweb, "_PAGE", 7)
    with opened(orthanc, Filters(series=[f"{MADE}.0.0"])) as source:
        found = list(source.find())
    assert names(found) == [f"{MADE}.0/{MADE}.0.0/{MADE}.0.0.{number}" for number in range(1, 26)]


@needs_orthanc
@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (Filters(studies=[f"{MADE}.0"]), 28),
        (Filters(studies=["1.2.3.4"]), 0),
        (Filters(series=[f"{MADE}.0.1"]), 3),
        (Filters(studies=[f"{MADE}.0"], series=[f"{MADE}.0.1"]), 3),
        (Filters(studies=["1.2.3.4"], series=[f"{MADE}.0.1"]), 0),
        (Filters(studies=[f"{MADE}.0"], modalities=["MR", "CR"]), 28),
        (Filters(studies=[f"{MADE}.0"], modalities=["CT"]), 0),
        (Filters(matches={"PatientID": "P0"}), 28),
        (Filters(matches={"PatientID": "P?", "StudyDate": "20200101-20201231"}), 28),
        (Filters(matches={"PatientID": "P0", "StudyDate": "-20191231"}), 0),
        (Filters(series=[f"{MADE}.0.0"], matches={"PatientID": "P0"}), 25),
        (Filters(series=[f"{MADE}.0.0"], matches={"InstanceNumber": "7"}), 1),
    ],
)
def test_filters_narrow_what_is_found(orthanc, filters, count):
    with opened(orthanc, filters) as source:
        assert len(names(source.find())) == count


@needs_orthanc
def test_a_modality_is_found_wherever_it_is(orthanc):
    with opened(orthanc, Filters(modalities=["US", "CT"])) as source:
        found = [one for one in source.find() if isinstance(one, Found)]
    assert {one.header.fields["modality"] for one in found} == {"US", "CT"}


@needs_orthanc
def test_several_threads_read_at_once(orthanc):
    with opened(orthanc, Filters(studies=[f"{MADE}.0"])) as source, ThreadPoolExecutor(8) as threads:
        found = [one for one in source.find() if isinstance(one, Found)] * 5
        for one, content in zip(found, threads.map(source.read, found), strict=True):
            assert content == orthanc[1][one.header.instance]


@needs_orthanc
@pytest.mark.parametrize(
    ("user", "password", "cure"),
    [("", "", "--token-file"), (USER, "another", "--password-file"), ("nobody", PASSWORD, "--user")],
)
def test_who_is_not_let_in_is_told_which_option_to_correct(orthanc, user, password, cure):
    refused = DicomWeb(ArchiveAccess(orthanc[0].dicomweb, user, password))
    with refused as source, pytest.raises(ArchiveError, match=cure) as error:
        list(source.find())
    assert "another" not in str(error.value)
    assert PASSWORD not in str(error.value)


@needs_orthanc
def test_an_address_beside_the_root_is_told_from_it(orthanc):
    for path in ("/app", "", "/instances", "/app/explorer.html"):
        beside = DicomWeb(ArchiveAccess(orthanc[0].url + path, USER, PASSWORD), sleep=lambda _: None)
        with beside as source, pytest.raises(ArchiveError, match="/dicom-web/"):
            list(source.find())


def test_a_client_shows_its_certificate_and_trusts_the_archives_own_authority(tmp_path):
    ours, theirs = certificate(tmp_path), certificate(tmp_path)
    archive = FalseArchive()
    with serving_tls(archive.handle, theirs, clients=ours) as url:
        with DicomWeb(ArchiveAccess(url, certificate=ours, authority=theirs)) as source:
            assert source.read(next(source.find())) == OBJECT
        for options, cure in (({"certificate": ours}, "--ca-file"), ({"authority": theirs}, "--client-certificate")):
            refused = DicomWeb(ArchiveAccess(url, **options), sleep=lambda _: None)
            with refused as source, pytest.raises(ArchiveError, match=cure):
                list(source.find())


def test_a_filter_is_asked_for_as_it_was_meant():
    archive = FalseArchive()
    filters = Filters(matches={"PatientID": "4?11,*", "StudyDescription": "a b+c&d=e/f:g%20é"})
    with archive.open(filters=filters) as source:
        list(source.find())
    path = archive.server.requests[0][0]
    assert "PatientID=4?11,*" in path
    assert "StudyDescription=a%20b%2Bc%26d%3De/f:g%2520%C3%A9" in path


def test_objects_of_an_archive_are_found_and_read():
    archive = FalseArchive(entry(2), entry(1))
    with archive.open() as source:
        found = list(source.find())
        assert names(found) == [f"{STUDY}/{SERIES}/{SERIES}.1", f"{STUDY}/{SERIES}/{SERIES}.2"]
        assert source.read(found[0]) == OBJECT


def test_no_object_is_asked_for_while_objects_are_found():
    archive = FalseArchive(*map(entry, range(1, 9)))
    with archive.open() as source:
        list(source.find())
    assert archive.asked("object") == 0


def test_pages_that_the_archive_makes_shorter_are_not_taken_for_the_last():
    archive = FalseArchive(*map(entry, range(1, 9)))
    archive.most = 3
    with archive.open() as source:
        assert len(names(source.find())) == 8


def test_no_more_is_asked_for_where_the_archive_says_how_many_there_are():
    archive = FalseArchive(
        *(entry(number, NumberOfStudyRelatedSeries=1, NumberOfSeriesRelatedInstances=8) for number in range(1, 9))
    )
    with archive.open() as source:
        assert len(names(source.find())) == 8
    assert (archive.asked("series"), archive.asked("instances")) == (1, 1)


@pytest.mark.parametrize("level", ["studies", "series", "instances"])
def test_an_archive_that_gives_the_same_page_again_and_again_ends(level):
    archive = FalseArchive(*map(entry, range(1, 9)))
    archive.instead[level] = lambda request: answer(request, archive.entries)
    with archive.open() as source:
        assert len(names(source.find())) == 8
    assert archive.asked(level) == 2


def test_an_object_of_two_series_is_found_once():
    archive = FalseArchive()
    archive.instead["series"] = lambda request: answer(
        request, archive.page(request, [entry(SeriesInstanceUID=uid) for uid in ("1.5", "1.6")])
    )

    def instances(request):
        series = request.path.split("/series/")[1].split("/")[0]
        answer(request, archive.page(request, [entry(1, SeriesInstanceUID=series, SOPInstanceUID="1.7")]))

    archive.instead["instances"] = instances
    with archive.open() as source:
        assert names(source.find()) == [f"{STUDY}/1.5/1.7"]


KEYS = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}


@pytest.mark.parametrize("level", KEYS)
def test_an_archive_whose_pages_never_end_is_given_up(monkeypatch, level):
    monkeypatch.setitem(dicomweb._MOST, level, 1000)
    archive, numbers = FalseArchive(), itertools.count(1)
    archive.instead[level] = lambda request: answer(
        request, [entry(**{KEYS[level]: f"1.9.{next(numbers)}"}) for _ in range(200)]
    )
    with archive.open() as source, pytest.raises(ArchiveError, match="lists more than 1,000"):
        list(source.find())
    assert archive.asked(level) == 6


def test_an_archive_with_ever_more_series_is_given_up(monkeypatch):
    monkeypatch.setattr(dicomweb, "_MOST_OBJECTS", 50)
    archive = FalseArchive()
    series = [entry(SeriesInstanceUID=f"1.8.{number}") for number in range(100)]
    archive.instead["series"] = lambda request: answer(request, archive.page(request, series))

    def instances(request):
        uid = request.path.split("/series/")[1].split("/")[0]
        answer(request, archive.page(request, [entry(SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.1")]))

    archive.instead["instances"] = instances
    with archive.open() as source, pytest.raises(ArchiveError, match="lists more than 50"):
        list(source.find())


@pytest.mark.parametrize(
    "uid", ["..", ".", "1.2/../../../instances", "1.2?x=1", "1.2#", "1..2", "%2e%2e", "", "1." * 40]
)
@pytest.mark.parametrize("level", KEYS)
def test_what_is_no_uid_is_passed_over_and_never_asked_for(level, uid):
    archive = FalseArchive()
    archive.instead[level] = lambda request: answer(request, archive.page(request, [entry(**{KEYS[level]: uid})]))
    with archive.open() as source:
        assert [type(one) for one in source.find()] == [PassedOver]
    assert all(".." not in path and "%2e" not in path for path, _ in archive.server.requests)


def test_an_object_that_is_not_named_by_uids_is_not_read():
    archive = FalseArchive()
    with archive.open() as source:
        found = next(source.find())
        asked = len(archive.server.requests)
        for name in ("study", "series", "instance"):
            wrong = Found("x", dataclasses.replace(found.header, **{name: "../.."}))
            with pytest.raises(ArchiveError):
                source.read(wrong)
            with pytest.raises(ArchiveError):
                source.describe(wrong)
        assert len(archive.server.requests) == asked


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_of_another_place_than_was_asked_for_ends_the_search(name):
    archive = FalseArchive()
    archive.instead["instances"] = lambda request: answer(request, [entry(**{name: "1.9"})])
    with archive.open() as source, pytest.raises(ArchiveError, match=name):
        list(source.find())


@pytest.mark.parametrize(
    "filters",
    [
        Filters(studies=["1.9"]),
        Filters(series=["1.9"]),
        Filters(matches={"PatientID": "4712"}),
        Filters(matches={"PatientID": "47?"}),
        Filters(matches={"StudyDate": "20200101-20201231"}),
        Filters(matches={"BodyPartExamined": "KNEE"}),
        Filters(matches={"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}),
    ],
)
def test_an_archive_that_heeds_no_filter_imports_nothing(filters):
    archive = FalseArchive(entry(StudyDate="20190101", BodyPartExamined="BREAST"))
    with archive.open(filters=filters) as source, pytest.raises(ArchiveError, match="does not heed"):
        list(source.find())


def test_a_modality_is_heeded_where_the_archive_does_not():
    archive = FalseArchive(entry(1, ModalitiesInStudy="CT", SeriesInstanceUID="1.7"), entry(2, SeriesInstanceUID="1.8"))
    archive.entries[0]["00080060"]["Value"] = ["CT"]
    archive.instead["instances"] = lambda request: answer(
        request, archive.page(request, [entry(SeriesInstanceUID=request.path.split("/series/")[1].split("/")[0])])
    )
    with archive.open(filters=Filters(modalities=["MR"])) as source:
        assert names(source.find()) == [f"{STUDY}/1.8/{SERIES}.1"]


def test_what_only_the_study_says_is_known_of_the_object():
    archive = FalseArchive(entry(PatientSex="F"))
    short = {number: value for number, value in entry().items() if number not in {"00100020", "00080060"}}
    archive.instead["instances"] = lambda request: answer(request, archive.page(request, [short]))
    with archive.open() as source:
        header = next(source.find()).header
    assert (header.patient, header.fields["modality"], header.fields["sex"]) == ("4711", "MR", "female")


def test_an_archive_that_answers_with_no_content_has_nothing():
    archive = FalseArchive()
    archive.instead["studies"] = lambda request: reply(request, b"", 204)
    with archive.open() as source:
        assert list(source.find()) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"1", b'"x"', b"[1]", b"[null]", b"null", b"\xff", b"[" * 10**6, b"<html>", b'[{"x":NaN}, 1]']
)
def test_what_is_no_dicom_in_json_is_said(body):
    archive = FalseArchive()
    archive.instead["studies"] = lambda request: reply(request, body)
    with archive.open() as source:
        if body:
            with pytest.raises(ArchiveError, match="DICOM in JSON"):
                list(source.find())
        else:
            assert list(source.find()) == []


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.lists(PLAIN | st.fixed_dictionaries({"Alphabetic": PLAIN}) | st.lists(PLAIN, max_size=2), max_size=3)
TOLD = st.dictionaries(
    st.sampled_from(sorted(entry())), PLAIN | VALUES | st.fixed_dictionaries({"Value": PLAIN | VALUES})
)


def test_whatever_an_archive_says_is_found_or_passed_over():
    with DicomWeb(ArchiveAccess("http://127.0.0.1:9/dicom-web")) as source:

        @settings(deadline=None, max_examples=50)
        @given(st.lists(TOLD, max_size=4))
        def finds(told):
            source._client = Pages([{**entry(number), **each} for number, each in enumerate(told, 1)])
            with contextlib.suppress(ArchiveError):
                assert all(isinstance(one, (Found, PassedOver)) for one in source.find())

        finds()


class Pages:
    """Answers each search with the same entries."""

    def __init__(self, entries):
        self.search_for_studies = lambda **_: [entry()]
        self.search_for_series = lambda **_: [entry()]
        self.search_for_instances = lambda **_: entries


def test_no_more_requests_than_allowed_are_under_way():
    archive, lock = FalseArchive(), threading.Lock()
    now, most = [0], [0]

    def slowly(request):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        archive.server.stopping.wait(0.02)
        with lock:
            now[0] -= 1
        reply(request, in_parts(OBJECT), **{"Content-Type": PARTS})

    archive.instead["object"] = slowly
    with archive.open(parallel=2) as source, ThreadPoolExecutor(8) as threads:
        found = next(source.find())
        assert list(threads.map(source.read, [found] * 40)) == [OBJECT] * 40
    assert most[0] == 2


def test_a_page_above_the_limit_is_refused():
    archive = FalseArchive(entry(PatientName="x" * 5000))
    with archive.open(page_bounds=Bounds(4000, 60.0)) as source, pytest.raises(ArchiveError, match="more than"):
        list(source.find())


def test_neither_patient_nor_token_is_logged_or_said(caplog, recwarn):
    secret, patient = "t0ken-of-the-test", "Doe^Jane"
    archive = FalseArchive(
        entry(PatientName=patient, PatientID=patient, PatientAge="x" * 30, SOPClassUID="no uid " * 20)
    )
    archive.instead["object"] = lambda request: reply(request, patient.encode(), 400, Warning=f"299 - {patient}")
    filters = Filters(matches={"PatientName": "Doe*"})
    with caplog.at_level(logging.DEBUG), archive.open(filters=filters, token=secret) as source:
        found = next(source.find())
        with pytest.raises(ArchiveError) as error:
            source.read(found)
    assert archive.server.requests[-1][1] == f"Bearer {secret}"
    for text in (str(error.value), caplog.text, *(str(warning.message) for warning in recwarn)):
        assert not any(part in text for part in (secret, "Doe", STUDY, "/studies"))
