"""Seconds of a round's own work where tasks have several images, features cached: learn the image, fit, and rank.

``clinical bench round --tasks 10000 --images 16 --repeats 1``
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.images.decoders.decoding import decode
from clinical_backend.lab.benchmarks.no_network import NoNetwork
from clinical_backend.lab.benchmarks.smi_case import peak_memory, reset_peak
from clinical_backend.labelstudio.labeling.project_labels import Labels
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.learner.backbones.base import available_cpus
from clinical_backend.rounds.inputs import choose_inputs
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.target import Target, find_target
from clinical_backend.study import StudyImage, address_of_images, digest_of_images
from clinical_backend.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.images.sources import ImageSource
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["main", "open_case"]

_CLASSES = ("common", "rare")
_LABELS = 300
_WIDTH = 1280
"""Of the default backbone's features."""
_CONFIG = (
    '<View><Image name="image" valueList="$images"/><Choices name="diagnosis" toName="image">'
    '<Choice value="common"/><Choice value="rare"/></Choices></View>'
)
_KINDS = 8
"""Of images; the last one is rare, and one image of each rare task is of it."""
_NOISE = 3.0
"""As in ``clinical bench round``."""
_TASKS = 500
"""Whose images are made at once: 41 MB of 16 each."""
_EXEMPLARS = 5
_RARE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class _State:
    """What learning looks at of a snapshot."""

    scheme: LabelingScheme
    labels: Labels
    pool: tuple[int, ...]
    target: Target
    groups: Mapping[int, str] = field(default_factory=dict)


def main(pools: Sequence[int], images: int, repeats: int) -> None:
    """Measure and print the table.

    Parameters
    ----------
    pools
        Numbers of tasks.
    images
        Of each task.
    repeats
        The median is of so many projects.
    """
    title = f"Seconds, median of {repeats}; {images} images of each task, {_LABELS} labels; {available_cpus()} CPUs"
    caption = "In brackets that of the first round, which joins the images of each task."
    table = Table(title=title, caption=caption)
    for heading in ("tasks", "features", "fit", "rank", "together", "peak GB"):
        table.add_column(heading, justify="right")
    for size in pools:
        runs, peaks = [], []
        for seed in range(repeats):
            with (
                tempfile.TemporaryDirectory(prefix="clinical-bench-") as folder,
                open_case(Path(folder), size, images, _LABELS, seed=seed) as (project, snapshot),
            ):
                reset_peak()
                runs.append([_round(project, snapshot) for _ in range(2)])
                peaks.append(peak_memory())
        first, later = (np.array(stages) for stages in zip(*runs, strict=True))
        medians = ([statistics.median(each) for each in [*part.T, part.sum(axis=1)]] for part in (later, first))
        cells = (f"{cell:.2f} ({cold:.2f})" for cell, cold in zip(*medians, strict=True))
        table.add_row(f"{size:,}", *cells, f"{max(peaks) / 2**30:.2f}")
    Console().print(table)


def _round(project: ProjectWorkspace, snapshot: Snapshot) -> tuple[float, float, float]:
    """Return the seconds that features, fit and rank take."""
    settings, labels, target = project.workspace.settings, snapshot.labels.seen, snapshot.target
    started = time.perf_counter()
    inputs, _ = choose_inputs(project, snapshot)
    chosen = time.perf_counter()
    fitted = fit(inputs, labels, _CLASSES, target, seed=settings.seed)
    fit_ended = time.perf_counter()
    rank(settings, inputs, target, fitted, round_number=1)
    return chosen - started, fit_ended - chosen, time.perf_counter() - fit_ended


@contextmanager
def open_case(
    folder: Path, tasks: int, images: int, labels: int, *, seed: int
) -> Iterator[tuple[ProjectWorkspace, Snapshot]]:
    """Make a project in an empty folder, and say how it stands.

    Parameters
    ----------
    tasks, images
        How many tasks, and images of each.
    labels
        How many of the tasks are labelled.
    """
    settings = load_settings(model_dir=folder, label_studio_api_key="none", adaptation="off", seed=seed)
    source = cast("ImageSource", None)  # nothing is fetched
    backbone = NoNetwork(folder, _WIDTH)
    workspace = Workspace(
        settings, Database.in_folder(folder), source=source, watching_source=source, backbone=backbone, decode=decode
    )
    try:
        workspace.stores.projects.register(1)
        generator = np.random.default_rng(seed)
        rare = generator.random(tasks) < _RARE_SHARE
        rare[:_EXEMPLARS] = True
        _fill(workspace, rare, images, generator)
        answers = {task: _CLASSES[int(rare[task])] for task in range(labels)}
        target = find_target(answers, list(range(_EXEMPLARS)), (), (), _CLASSES)
        state = _State(read_scheme(_CONFIG), Labels(answers), tuple(range(labels, tasks)), target)
        yield workspace.project(1), cast("Snapshot", state)
    finally:
        workspace.close()


def _fill(workspace: Workspace, rare: NDArray[np.bool_], images: int, generator: np.random.Generator) -> None:
    """Enter tasks and images with features drawn around the middle of their kind."""
    middles = generator.normal(size=(_KINDS, _WIDTH)).astype(np.float32)
    stores, store = workspace.stores, workspace.features.store
    shown = {
        task: [StudyImage(at, images, "", f"data:{task}-{at}") for at in range(images)] for task in range(len(rare))
    }
    stores.images.synchronise(1, {task: address_of_images(each) for task, each in shown.items()}, complete=True)
    stores.studies.synchronise(1, shown, complete=True)
    digests = {task: [hashlib.sha256(one.uri.encode()).hexdigest() for one in each] for task, each in shown.items()}
    stores.studies.found(1, {(task, at): one for task, each in digests.items() for at, one in enumerate(each)})
    stores.images.found(1, {task: digest_of_images(each) for task, each in digests.items()})
    for start in range(0, len(rare), _TASKS):
        part = range(start, min(start + _TASKS, len(rare)))
        kinds = generator.integers(_KINDS - 1, size=(len(part), images))
        kinds[rare[part.start : part.stop], 0] = _KINDS - 1
        rows = _NOISE * generator.standard_normal((kinds.size, _WIDTH), dtype=np.float32) + middles[kinds.ravel()]
        store.add([one for task in part for one in digests[task]], rows)
