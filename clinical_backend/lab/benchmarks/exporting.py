"""What an export of many labels takes, in each format; cut off and begun again, and on a full disk.

``clinical bench export``
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from clinical_backend.errors import ClinicalError
from clinical_backend.handover.dataset_export import export_dataset
from clinical_backend.handover.delivery import SUMS
from clinical_backend.handover.export_options import ExportOptions
from clinical_backend.lab.benchmarks.labelled_project import fill_project, open_project
from clinical_backend.learner.backbones.base import available_cpus

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Measured", "main", "measure", "measure_cut_off", "measure_full_disk"]

_FIELDS = ("age", "site")
_CASES = (
    ExportOptions("csv", "none", _FIELDS),
    ExportOptions("coco", "reference", _FIELDS),
    ExportOptions("label-studio", "reference", _FIELDS),
    ExportOptions("imagefolder", "copy", _FIELDS),
)
"""Of a folder of images the loader needs the images: these are small, so that the export and no decoder is measured."""
_LOOK_SECONDS = 0.005
_WAIT_SECONDS = 3600.0
"""Between two looks at what a process has written, and for that at most: only a hang takes so long."""
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of an export.

    Attributes
    ----------
    seconds, processor
        From the call to its end, in all and of work.
    peak
        Greatest resident memory of its process, in bytes.
    written
        Bytes in the folder; 0 where it is not there.
    problem
        Why there is none; empty where there is one.
    left
        Names that are left beside the folder.
    """

    seconds: float
    processor: float
    peak: int
    written: int
    problem: str = ""
    left: tuple[str, ...] = ()


def main(labels: int) -> None:
    """Fill a project, export it in every way, and print the table."""
    console = Console(width=150)
    table = Table(title=f"Export of {labels:,} labels; {available_cpus()} CPUs")
    for heading in ("format", "images", "seconds", "of work", "peak MiB", "MiB written", "what is left of it"):
        table.add_column(heading, justify="left" if heading in {"format", "images"} else "right")
    with tempfile.TemporaryDirectory(prefix="clinical-export-") as folder:
        model, out = Path(folder) / "model", Path(folder) / "out"
        model.mkdir()
        fill_project(model, labels)
        for options in _CASES:
            table.add_row(options.form, options.images, *_cells(measure(model, labels, options, out / options.form)))
        killed, again = measure_cut_off(model, labels, out / "cut")
        table.add_row("csv, killed as it writes", "none", *_cells(killed))
        table.add_row("    and begun again", "none", *_cells(again))
        table.add_row("csv, on a full disk", "none", *_cells(measure_full_disk(model, labels, out / "full")))
        same = (out / "csv" / SUMS).read_text().splitlines()[0] == (out / "cut" / SUMS).read_text().splitlines()[0]
    console.print(table)
    console.print(f"What was begun again is {'the same to the byte' if same else 'ANOTHER'} as what was not cut off.")


def measure(model: Path, labels: int, options: ExportOptions, out: Path, *, file_limit: int | None = None) -> Measured:
    """Export in a process of its own, and return what that took.

    Parameters
    ----------
    model
        What :func:`fill_project` filled with so many labels.
    options, out
        What is exported, and the folder.
    file_limit
        Bytes that no file may grow beyond, as on a full disk.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = _started(theirs, model, labels, options, out, file_limit)
    theirs.close()
    try:
        seconds, processor, peak, problem = ours.recv()
    except EOFError:
        raise ClinicalError("The process of an export ended early.", "See what it wrote above.") from None
    finally:
        process.join()
        ours.close()
    return Measured(seconds, processor, peak, _size(out), problem, _left(out))


def measure_cut_off(model: Path, labels: int, out: Path) -> tuple[Measured, Measured]:
    """Kill an export in the midst of its lines, begin it again, and return what both left."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    started = time.monotonic()
    process = _started(theirs, model, labels, _CASES[0], out, None)
    while process.is_alive() and not _is_writing(out) and time.monotonic() - started < _WAIT_SECONDS:
        time.sleep(_LOOK_SECONDS)
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    for end in (ours, theirs):
        end.close()
    killed = Measured(time.monotonic() - started, 0.0, 0, _size(out), "killed", _left(out))
    return killed, measure(model, labels, _CASES[0], out)


def measure_full_disk(model: Path, labels: int, out: Path) -> Measured:
    """Export to a disk that takes half a line of each label, and return what that left."""
    return measure(model, labels, _CASES[0], out, file_limit=50 * labels)


def _started(
    end: Connection, model: Path, labels: int, options: ExportOptions, out: Path, file_limit: int | None
) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=_export, args=(end, model, labels, options, out, file_limit)
    )
    process.start()
    return process


def _export(
    end: Connection, model: Path, labels: int, options: ExportOptions, out: Path, file_limit: int | None
) -> None:
    """Export, and send what it took."""
    problem = ""

    def show(done: int, total: int | None) -> None:
        if file_limit is not None and done == total:  # all are compared: what is written from here on is the export
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails, as on a disk
    with closing(open_project(model, labels)) as workspace:
        started, worked = time.monotonic(), time.process_time()
        try:
            export_dataset(workspace.project(1), options, out, command="clinical bench export", show=show)
        except ClinicalError as error:
            problem = str(error)
        seconds, processor = time.monotonic() - started, time.process_time() - worked
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end.send((seconds, processor, peak, problem))
    end.close()


def _is_writing(out: Path) -> bool:
    """Tell whether lines of labels are on disk."""
    with suppress(OSError):
        return any(file.stat().st_size for file in out.parent.glob(f".{out.name}.*.part/labels.csv"))
    return False


def _left(out: Path) -> tuple[str, ...]:
    """Return what is there of an export."""
    return tuple(sorted(one.name for one in out.parent.glob(f"*{out.name}*") if one.is_dir()))


def _size(out: Path) -> int:
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def _cells(one: Measured) -> list[str]:
    numbers = [f"{one.processor:.0f}", f"{one.peak / _MIB:,.0f}", f"{one.written / _MIB:,.0f}"]
    left = ["a hidden folder" if name.startswith(".") else "the folder" for name in one.left]
    return [f"{one.seconds:.0f}", *(numbers if one.peak else ("", "", "")), " and ".join(left) or "nothing"]
