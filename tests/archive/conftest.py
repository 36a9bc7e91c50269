"""DICOM files as an archive holds them, made by pydicom."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

NAME, NUMBER, BIRTH = "Mustermann^Erika", "PAT-4711-X", "19640812"


def dicom(pixels=None, **tags):
    """Return a DICOM object; a tag that is ``None`` is left out."""
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    frames = pixels.shape[0] if pixels.ndim == 3 else None
    given = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "SeriesInstanceUID": "1.2.3.1",
        "StudyInstanceUID": "1.2.3",
        "PatientID": NUMBER,
        "PatientName": NAME,
        "PatientBirthDate": BIRTH,
        "StudyDate": "20190307",
        "PatientAge": "054Y",
        "PatientSex": "F",
        "Modality": "CT",
        "Manufacturer": "ACME Imaging",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "NumberOfFrames": frames,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": pixels.astype("<u2").tobytes(),
    } | tags
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is wrong on purpose
        for name, value in given.items():
            if value is not None:
                setattr(dataset, name, value)
    meta.MediaStorageSOPClassUID = given["SOPClassUID"]
    meta.MediaStorageSOPInstanceUID = given["SOPInstanceUID"] or "1.2.3.9"
    return dataset


def content(dataset):
    made = BytesIO()
    dataset.save_as(made, enforce_file_format=True)
    return made.getvalue()


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a DICOM object to a file below a folder, and returns its path."""
    folder = tmp_path / "archive"
    folder.mkdir()

    def write_file(name, dataset):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dataset if isinstance(dataset, bytes) else content(dataset))
        return path

    write_file.folder = folder
    return write_file
