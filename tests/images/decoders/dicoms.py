"""DICOM files, and what is seen of them."""

import io

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

from clinical_backend.images.decoders.decoding import decode


def dicom(values, *, syntax=ExplicitVRLittleEndian, preamble=True, without=(), **tags):
    """Write a grey image, of shape (rows, columns) or (frames, rows, columns), or one with colour."""
    values = np.asarray(values)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.PatientName = "Doe^Jane"
    dataset.Rows, dataset.Columns = values.shape[-2:] if values.shape[-1] != 3 else values.shape[-3:-1]
    dataset.SamplesPerPixel = 3 if values.shape[-1] == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if values.shape[-1] == 3 else "MONOCHROME2"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    for name in without:
        delattr(dataset, name)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    file = io.BytesIO()
    if preamble:
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    else:
        dataset.save_as(file, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
        content = file.getvalue()
        return content[132:] if content[128:132] == b"DICM" else content
    return file.getvalue()


def grey(data):
    pixels = np.asarray(decode(data))
    assert np.all(pixels == pixels[..., :1])
    return pixels[..., 0].tolist()


RAMP = np.array([[0, 100, 200, 300]], dtype=np.uint16)
