"""DICOM files that are deflated: what is unpacked of them is bounded, which pydicom does not do."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from clinical_backend.images.decoders.decoding import PREAMBLE, has_preamble

if TYPE_CHECKING:
    from pydicom.tag import BaseTag

__all__ = ["inflated"]

_META_GROUP = 2
_EMPTY_PREAMBLE = b"DICM".rjust(PREAMBLE, b"\0")
_MOST = 16 * 2**20
"""Bytes that are unpacked. What stands before the pixels takes some KB, and some MB where it describes thousands of
frames; one that is packed may take a thousand times its size. Chosen."""


def inflated(file: IO[bytes]) -> IO[bytes]:
    """Return a DICOM file from its start; of one that is deflated, the first 16 MiB as if it were not.

    Raises
    ------
    Exception
        Of any kind where the file is damaged: those of pydicom and zlib.
    """
    file.seek(0)
    if not has_preamble(file.read(PREAMBLE)):
        file.seek(0)
    meta = FileMetaDataset(
        read_dataset(cast("BinaryIO", file), is_implicit_VR=False, is_little_endian=True, stop_when=_after_meta)
    )
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return file
    unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(_MOST), _MOST)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = DicomBytesIO()
    write_file_meta_info(written, meta, enforce_standard=False)
    return BytesIO(_EMPTY_PREAMBLE + written.getvalue() + unpacked)


def _after_meta(tag: BaseTag, _kind: str | None, _length: int) -> bool:
    return tag.group != _META_GROUP
