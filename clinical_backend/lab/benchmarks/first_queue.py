"""How long a new project waits: from its connection to a first queue, and to the one that all its images are in.

``clinical bench first-queue``
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.run import create_image_project
from clinical_backend.lab.experiments.datasets import DataError, load_images
from clinical_backend.lab.experiments.features import opened
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.learner.backbones.base import available_cpus
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.settings import load_settings
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.schema import RoundState
from clinical_backend.storage.stores.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clinical_backend.storage.schema import Round

__all__ = ["Step", "large_images", "main", "steps_of"]

_CACHE = Path(".cache")
_SIZE = (600, 450)
"""Of HAM10000's images as they are published; enlarged ones take 14 KB each as JPEG, 140 MB for 10,000."""
_QUALITY = 75
_CLASSES = ("rare", "common")
_WAIT_SECONDS = 3600.0
_LOOK_SECONDS = 1.0
"""Longest wait for all images, so that only a hang ends; and between two looks. Not measured."""


@dataclass(frozen=True, slots=True)
class Step:
    """A queue that readers got.

    Attributes
    ----------
    number
        Of its round.
    seconds
        From the project's connection to this queue.
    read
        Images of the pool that had features then.
    stages
        Seconds of the round by stage.
    """

    number: int
    seconds: float
    read: int
    stages: dict[str, float]


def main(images: int, *, served: bool, adaptation: bool) -> None:
    """Measure on a real Label Studio, and print the table.

    Parameters
    ----------
    images
        How many the project has.
    served
        Whether Label Studio serves them, on the same CPUs; otherwise they are read from the folder that it serves.
    adaptation
        Whether a network is adapted meanwhile, as the default settings have it.
    """
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LabelStudioServer(folder / "label-studio", cache=_CACHE, fast_imports=True) as server:
            console.print(f"Writing {images:,} images of {_SIZE[0]} × {_SIZE[1]} pixels …")
            kept = server.files / "images"
            kept.mkdir()
            files = [f"{number:06}.jpg" for number in range(images)]
            for file, content in zip(files, large_images(images), strict=True):
                (kept / file).write_bytes(content)
            _place_backbones(folder / "backend" / "backbones")
            key = server.account.token
            settings: dict[str, object] = {} if served else {"LOCAL_FILES_DOCUMENT_ROOT": server.files}
            if not adaptation:
                settings["ADAPTATION"] = "off"
            with LabelStudioAdmin(server.url, key) as client:
                project, _ = create_image_project(client, kept, files, _CLASSES, "first queue")
                before = _processor_seconds()
                with BackendServer(folder / "backend", server.url, key, **settings) as backend:
                    load, started = os.getloadavg()[0], time.time()
                    connect(client, project.id, backend_url=backend.url)
                    rounds = _all_read(backend, project.id)
                taken = _processor_seconds() - before
    console.print(_table(steps_of(rounds, started), images, served=served, load=load))
    console.print(f"The backend and its worker took {taken:,.0f} s of processor time, their start included.")


def large_images(count: int) -> Iterator[bytes]:
    """Yield different JPEG images of 600 × 450 pixels: HAM10000's where it is at hand, then their mirror images.

    Without it they are drawn cells, enlarged: networks and decoding take as long.
    """
    try:
        data = load_images("ham10000", cache=_CACHE / "experiments")
    except DataError:
        drawn = (drawn_cells(1, 0, seed=seed).images[0] for seed in range(count))
        pictures: Iterator[Image.Image] = (Image.fromarray(pixels) for pixels in drawn)
    else:
        known = (opened(data, index) for index in range(len(data)))
        mirrored = (ImageOps.mirror(opened(data, index)) for index in range(len(data)))
        pictures = islice((picture for each in (known, mirrored) for picture in each), count)
    for picture in pictures:
        buffer = BytesIO()
        picture.resize(_SIZE, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=_QUALITY)
        yield buffer.getvalue()


def steps_of(rounds: Sequence[Round], started: float) -> list[Step]:
    """Return the queues that readers got of some rounds, in their order, and when, since a time in epoch seconds."""
    return [
        Step(
            row.number,
            row.finished_at - started,
            row.report.counts.pool - row.report.counts.waiting,
            dict(row.report.seconds),
        )
        for row in rounds
        if row.state is RoundState.PUBLISHED and row.finished_at is not None
    ]


def _place_backbones(folder: Path) -> None:
    """Export the default network for both sizes where it was not, and put it where an installation finds it."""
    exported = _CACHE / "backbones"
    backbone = load_backbone(folder=exported, device="cpu")
    for size in backbone.sizes:
        backbone.embed(np.zeros((1, size, size, 3), dtype=np.uint8))
    shutil.copytree(exported, folder)


def _all_read(backend: BackendServer, project_id: int) -> list[Round]:
    """Wait until a queue is published that all images had a part in, and return the rounds until then, oldest first."""
    stores = Stores(open_database(load_settings(model_dir=backend.folder)))
    try:
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline:
            latest = stores.rounds.latest(project_id, state=RoundState.PUBLISHED)
            if latest is not None and not latest.report.counts.waiting:
                return stores.rounds.history(project_id)[::-1]
            time.sleep(_LOOK_SECONDS)
    finally:
        stores.database.close()
    raise ClinicalError(f"Not all images were read in {_WAIT_SECONDS:.0f} s.", f"See {backend.log}.")


def _processor_seconds() -> float:
    """Return the processor time of all child processes that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _table(steps: Sequence[Step], images: int, *, served: bool, load: float) -> Table:
    way = "served by Label Studio" if served else "read from its folder"
    table = Table(
        title=f"{images:,} images of {_SIZE[0]} × {_SIZE[1]}, {way}; {available_cpus()} CPUs, load {load:.1f} before"
    )
    stages = ("sync", "embed", "fit", "rank", "publish")
    for heading in ("queue", "seconds since the connection", "images read", *stages):
        table.add_column(heading, justify="right")
    for step in steps:
        parts = (f"{step.stages.get(stage, 0.0):.1f}" for stage in stages)
        table.add_row(str(step.number), f"{step.seconds:.0f}", f"{step.read:,}", *parts)
    return table
