"""DICOM files are found by their content, wherever they lie, and what is not imported is named."""

from __future__ import annotations

import errno
import io
import os
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clinical_backend.archive import dicom_files
from clinical_backend.archive.dicom_files import DicomFiles
from clinical_backend.archive.found import Found, PassedOver
from clinical_backend.archive.header import header_of
from clinical_backend.errors import ArchiveError
from tests.archive.conftest import content, dicom


def names(found):
    return [one.name for one in found]


def test_files_below_folders_and_inside_archives_are_found_in_order(write):
    for name in ("b/2", "b/1.dcm", "a.dcm"):
        write(name, dicom())
    with zipfile.ZipFile(write.folder / "c.zip", "w") as archive:
        archive.writestr("inner/5.dcm", content(dicom()))
        archive.writestr("4.txt", "a note")
    source = DicomFiles([write.folder])
    found = list(source.find())
    assert [(type(one), os.path.relpath(one.name, write.folder)) for one in found] == [
        (Found, "a.dcm"),
        (PassedOver, "c.zip!/4.txt"),
        (Found, "c.zip!/inner/5.dcm"),
        (Found, "b/1.dcm"),
        (Found, "b/2"),
    ]
    for one in found:
        if isinstance(one, Found):
            assert source.read(one)[128:132] == b"DICM"


def test_what_is_no_dicom_file_or_damaged_is_named_with_a_reason(write):
    write("empty.dcm", b"")
    write("note.dcm", b"no image at all")
    write("cut.dcm", b"\0" * 128 + b"DICM" + b"\xff" * 40)
    write("bad.zip", b"PK\x03\x04" + b"\0" * 60)
    (write.folder / "gone.dcm").symlink_to(write.folder / "nothing")
    os.mkfifo(write.folder / "pipe.dcm")
    found = list(DicomFiles([write.folder]).find())
    assert len(found) == 6
    assert all(isinstance(one, PassedOver) and one.reason for one in found)


def test_a_member_of_an_archive_without_a_name_is_passed_over(write):
    path = write.folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", content(dicom()))
        archive.writestr("y.dcm", content(dicom()))
    # One character of the name in the list, which is the last "x", becomes the first one of a comment.
    listed = path.read_bytes()
    entry = listed.index(b"PK\x01\x02")
    lengths = struct.pack("<HHH", 0, 0, 1)
    path.write_bytes(listed[: entry + 28] + lengths + listed[entry + 34 :])
    nameless, found = DicomFiles([path]).find()
    assert isinstance(nameless, PassedOver)
    assert "no name" in nameless.reason
    assert isinstance(found, Found)


def test_an_encrypted_or_too_large_member_of_an_archive_is_passed_over(write):
    path = write.folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.dcm", bytes(200_000))
        archive.writestr("sealed.dcm", content(dicom()))
    raw = bytearray(path.read_bytes())
    for at in (raw.rfind(b"PK\x03\x04") + 6, raw.rfind(b"PK\x01\x02") + 8):
        raw[at] |= 1
    path.write_bytes(raw)
    reasons = {one.name.rpartition("/")[2]: one.reason for one in DicomFiles([path], size_limit=100_000).find()}
    assert reasons == {"bomb.dcm": "it has more than 0 MiB", "sealed.dcm": "it is encrypted"}


def test_an_archive_that_lists_too_many_files_is_passed_over_without_reading_the_list(write, monkeypatch):
    path = write.folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number:020}", b"")
    assert len(list(DicomFiles([path]).find())) == 2000
    monkeypatch.setattr(dicom_files, "_LONGEST_LIST", 2**17)
    assert list(DicomFiles([path]).find()) == [
        PassedOver(str(path), "it lists too many files: unpack it, and name the folder")
    ]


def test_a_member_that_lies_about_its_size_is_not_read_beyond_the_limit(write):
    path = write.folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.dcm", content(dicom()) + bytes(500_000))
    source = DicomFiles([path], size_limit=1_000_000)
    (found,) = source.find()
    with pytest.raises(ArchiveError, match="more than"):
        DicomFiles([path], size_limit=10_000).read(found)


def test_an_object_without_identifier_is_known_by_its_content(write):
    write("1.dcm", dicom(SOPInstanceUID=None))
    (found,) = DicomFiles([write.folder]).find()
    (again,) = DicomFiles([write.folder]).find()
    assert found.header.instance == again.header.instance != ""


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="no file or folder"):
        DicomFiles([tmp_path / "nothing"])


def test_a_file_that_went_meanwhile_is_an_error_that_names_no_path(write):
    path = write("Mustermann.dcm", dicom())
    source = DicomFiles([path])
    (found,) = source.find()
    path.unlink()
    with pytest.raises(ArchiveError) as refused:
        source.read(found)
    assert "Mustermann" not in str(refused.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_an_archive_does_not_keep_the_others_out(write, method):
    path = write.folder / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("1.dcm", content(dicom(np.arange(4096, dtype=np.uint16).reshape(64, 64))))
        archive.writestr("2.dcm", content(dicom()))
    raw = bytearray(path.read_bytes())
    raw[50:70] = b"\xff" * 20
    path.write_bytes(raw)
    damaged, found = DicomFiles([path]).find()
    assert "damaged" in damaged.reason
    assert isinstance(found, Found)


def test_of_two_members_with_one_name_the_one_that_is_read_is_found(write):
    path = write.folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.dcm", content(dicom(SOPInstanceUID="1.1")))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("1.dcm", content(dicom(SOPInstanceUID="1.2")))
    source = DicomFiles([path])
    hidden, found = source.find()
    assert "same name" in hidden.reason
    assert header_of(io.BytesIO(source.read(found))).instance == found.header.instance == "1.2"


def test_the_list_of_an_archive_is_not_read_for_each_of_its_members(write, monkeypatch):
    path = write.folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.dcm", content(dicom()))
    source = DicomFiles([path])
    found = list(source.find())
    opened, real = [], zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda *given: opened.append(1) or real(*given))
    with ThreadPoolExecutor(4) as readers:
        read = list(readers.map(source.read, found))
    assert [header_of(io.BytesIO(one)).instance for one in read] == [one.header.instance for one in found]
    assert len(opened) == 1


def test_a_dicom_file_that_ends_like_an_archive_is_one_of_dicom(write):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("note.txt", "none")
    write("1.dcm", content(dicom()) + packed.getvalue())
    (found,) = DicomFiles([write.folder]).find()
    assert isinstance(found, Found)


def test_folders_that_are_not_looked_into_are_named(write, monkeypatch):
    write("a/1.dcm", dicom())
    (write.folder / "loop").symlink_to(write.folder)
    (write.folder / "closed").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = list(DicomFiles([write.folder]).find())
    reasons = {Path(one.name).name: one.reason for one in found if isinstance(one, PassedOver)}
    assert reasons == {
        "loop": "a link to a folder: name that folder",
        "closed": "the folder cannot be read (Permission denied)",
    }
    assert sum(isinstance(one, Found) for one in found) == 1


def test_a_path_that_cannot_be_looked_at_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="cannot be looked at"):
        DicomFiles([tmp_path / ("a" * 300)])


def test_a_folder_whose_name_looks_like_the_way_into_an_archive_is_a_folder(write):
    (write.folder / "urgent!").mkdir()
    write("urgent!/1.dcm", dicom())
    with zipfile.ZipFile(write.folder / "urgent!" / "a.zip", "w") as archive:
        archive.writestr("new!/2.dcm", content(dicom()))
    source = DicomFiles([write.folder])
    found = list(source.find())
    assert [header_of(io.BytesIO(source.read(one))).instance for one in found] == [one.header.instance for one in found]
    assert len(found) == 2
