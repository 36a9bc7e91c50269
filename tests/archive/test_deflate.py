"""A deflated file is read like another one, and unpacks to so much at most."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from clinical_backend.archive.deflate import inflated
from clinical_backend.archive.header import described, header_of
from tests.archive.conftest import NUMBER, content, dicom


def deflated(more=0, *, preamble=True):
    """Return a deflated file whose pixels are so many MiB of zeros."""
    dataset = dicom(SOPInstanceUID="1.5", PixelData=None)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = content(dataset)
    file = io.BytesIO(whole)
    file.seek(140)
    end = 144 + int.from_bytes(file.read(4), "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(zlib.decompress(whole[end:], -zlib.MAX_WBITS))
    packed += packer.compress(b"\xe0\x7f\x10\x00OW\0\0" + (more * 2**20).to_bytes(4, "little"))
    for _ in range(more):
        packed += packer.compress(bytes(2**20))
    return whole[0 if preamble else 132 : end] + packed + packer.flush()


@pytest.mark.parametrize("preamble", [True, False])
def test_what_a_deflated_file_says_is_read_and_a_bomb_does_not_fill_the_memory(preamble):
    data = deflated(200, preamble=preamble)
    tracemalloc.start()
    try:
        header = header_of(io.BytesIO(data))
        said = described(io.BytesIO(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (header.instance, header.patient) == ("1.5", NUMBER)
    assert str(said.PatientID) == NUMBER
    assert peak < 100 * 2**20


def test_another_file_is_returned_as_it_is_from_its_start():
    file = io.BytesIO(content(dicom()))
    assert inflated(file) is file
    assert file.tell() == 0
    assert pydicom.dcmread(file).PatientID == NUMBER
