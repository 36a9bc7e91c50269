"""Objects a second, and memory, of importing an Orthanc's objects, beside a plain download of the same.

``clinical bench import``
"""

from __future__ import annotations

import io
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import requests
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from rich.console import Console
from rich.table import Table

from clinical_backend.archive.access import ArchiveAccess
from clinical_backend.archive.dicomweb import DicomWeb
from clinical_backend.archive.found import Found
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.orthanc_server import OrthancServer
from clinical_backend.learner.backbones.base import available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main", "small_object"]

_SIDE = 64
_IN_SERIES, _SERIES_IN_STUDY = 100, 2
"""8 KiB of pixels, so that what each object costs beside its bytes is measured; series as long as a small MR's."""
_THREADS = 4  # as many as an archive is asked at a time by default
_ROOT = "1.2.826.0.1.3680043.8.498.1"
_HEADERS = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*', "Accept-Encoding": "identity"}

_CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="class" toName="image">'
    '<Choice value="common"/><Choice value="rare"/></Choices></View>'
)

Measured = tuple[int, float, float]
"""How many objects were read, in how many seconds, and by how many MiB memory was higher at its peak than before."""


def main(objects: int, repeats: int) -> None:
    """Measure and print the table."""
    console = Console()
    with (
        tempfile.TemporaryDirectory() as folder,
        OrthancServer(Path(folder) / "orthanc") as server,
        LabelStudioServer(Path(folder) / "label-studio", cache=Path(".cache")) as studio,
    ):
        for number in range(objects):
            server.store(small_object(number))
        ways: dict[str, tuple[Callable[..., Measured], tuple[object, ...]]] = {
            "plain download, one session": (_download, (server.dicomweb, objects, 1)),
            f"plain download, {_THREADS} sessions": (_download, (server.dicomweb, objects, _THREADS)),
            "find alone": (_find, (server.dicomweb,)),
            "find and read, one thread": (_import, (server.dicomweb, 1)),
            f"find and read, {_THREADS} threads": (_import, (server.dicomweb, _THREADS)),
            "whole import, pictures uploaded": (_whole, (server.dicomweb, studio.url, studio.account.token, None)),
            "whole import, pictures in files": (
                _whole,
                (server.dicomweb, studio.url, studio.account.token, studio.files),
            ),
        }
        measured: dict[str, list[Measured]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, (way, arguments) in ways.items():
                # A process of its own each time: memory that another way left behind would count for nothing new.
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    result = process.submit(way, *arguments).result()
                if result[0] != objects:
                    raise AssertionError(f"{name}: {result[0]} of {objects} objects")
                measured[name].append(result)
    table = Table(
        title=f"{objects} objects of {_SIDE} × {_SIDE}, Orthanc on the same {available_cpus()} CPUs; {repeats} runs"
    )
    for heading in ("way", "objects a second", "of the first", "memory at its peak, MiB more"):
        table.add_column(heading, justify="right")
    floor = statistics.mean(count / seconds for count, seconds, _ in next(iter(measured.values())))
    for name, results in measured.items():
        rates = [count / seconds for count, seconds, _ in results]
        error = statistics.stdev(rates) / math.sqrt(repeats) if repeats > 1 else math.nan
        peak = max(memory for *_, memory in results)
        rate = statistics.mean(rates)
        table.add_row(name, f"{rate:.0f} ± {error:.0f}", f"{rate / floor:.2f}", f"{peak:.0f}")
    console.print(table)


def small_object(number: int, side: int = _SIDE, **attributes: object) -> bytes:
    """Return a DICOM file with noise for pixels.

    Parameters
    ----------
    number
        Of the object; it tells its series and its study, and is the seed of the noise.
    side
        Rows and columns.
    **attributes
        By keyword, in place of those it would have.
    """
    series, instance = divmod(number, _IN_SERIES)
    study = series // _SERIES_IN_STUDY
    pixels = np.random.default_rng(number).integers(0, 4096, (side, side), dtype=np.uint16)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, f"{_ROOT}.{study}.{series}.{instance + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_ROOT}.{study}", f"{_ROOT}.{study}.{series}"
    dataset.PatientID, dataset.PatientName, dataset.StudyDate = f"P{study}", f"Doe^{study}", "20200229"
    dataset.Modality, dataset.InstanceNumber = "MR", instance + 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 3 * instance], [1, 0, 0, 0, 1, 0]
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _download(root: str, objects: int, threads: int) -> Measured:
    """Get objects whose addresses are known, and do nothing with them."""
    places = [divmod(number, _IN_SERIES) for number in range(objects)]
    before = _peak()
    began = time.perf_counter()

    def get(part: list[tuple[int, int]]) -> int:
        with requests.Session() as session:
            for series, instance in part:
                study = series // _SERIES_IN_STUDY
                path = f"{root}/studies/{_ROOT}.{study}/series/{_ROOT}.{study}.{series}"
                answer = session.get(
                    f"{path}/instances/{_ROOT}.{study}.{series}.{instance + 1}", headers=_HEADERS, timeout=60
                )
                answer.raise_for_status()
                assert answer.content
        return len(part)

    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(get, [places[first::threads] for first in range(threads)]))
    return done, time.perf_counter() - began, _peak() - before


def _find(root: str) -> Measured:
    before = _peak()
    began = time.perf_counter()
    with DicomWeb(ArchiveAccess(root)) as archive:
        done = sum(isinstance(one, Found) for one in archive.find())
    return done, time.perf_counter() - began, _peak() - before


def _import(root: str, threads: int) -> Measured:
    """Read what is found, while more is found."""
    before = _peak()
    began = time.perf_counter()
    done = 0
    with DicomWeb(ArchiveAccess(root)) as archive, ThreadPoolExecutor(threads) as pool:
        waiting = []
        for one in archive.find():
            if isinstance(one, Found):
                waiting.append(pool.submit(lambda found: len(archive.read(found)), one))
            if len(waiting) >= _IN_SERIES:
                done += sum(job.result() > 0 for job in waiting)
                waiting = []
        done += sum(job.result() > 0 for job in waiting)
    return done, time.perf_counter() - began, _peak() - before


def _whole(root: str, label_studio: str, token: str, files: Path | None) -> Measured:
    """Run the command for a new project, from its start to its tasks; the memory is all that one process grew to."""
    with tempfile.TemporaryDirectory() as folder, LabelStudioAdmin(label_studio, token) as client:
        project = client.create_project("import", _CONFIG)
        environment = os.environ | {
            "LABEL_STUDIO_URL": label_studio,
            "LABEL_STUDIO_API_KEY": token,
            "MODEL_DIR": folder,
            "LOCAL_FILES_DOCUMENT_ROOT": str(files or ""),
        }
        command = [sys.executable, "-m", "clinical_backend", "import", "--project", str(project.id), "--dicomweb", root]
        began = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        seconds = time.perf_counter() - began
        done = client.project(project.id).task_number
        client.delete_project(project.id)
    return done, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _peak() -> float:
    """Return the most memory that this process had resident, in MiB, as Linux counts it since the process began."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
