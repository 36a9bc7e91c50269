"""Processor time and memory of whole rounds on a synthetic project with a database, features cached.

``clinical bench round --whole --tasks 1000000 --frozen --repeats 2``; what a real Label Studio takes to answer is
left out.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.benchmarks.no_network import NoNetwork
from clinical_backend.lab.benchmarks.round import ADAPTED, CLASSES, FROZEN, LABELS, draw_classes
from clinical_backend.lab.benchmarks.smi_case import peak_memory, reset_peak
from clinical_backend.labelstudio.resources import AnnotatedTask, Annotation, Project, Task, User
from clinical_backend.learner.adaptation.network import AdaptedBackbone
from clinical_backend.learner.backbones.base import Backbone, BackboneSpec, available_cpus
from clinical_backend.rounds.round import run_round
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.features import THUMBNAIL, AdaptedFeatures
from clinical_backend.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.images.sources import ImageSource
    from clinical_backend.labelstudio.client import LabelStudioClient

__all__ = ["SyntheticProject", "fill", "main"]

_CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image">'
    + "".join(f'<Choice value="{name}"/>' for name in CLASSES)
    + '</Choices><Choices name="exemplar" toName="image" choice="multiple"><Choice value="more like this"/></Choices>'
    "</View>"
)
_EXEMPLARS, _ANSWERED = 5, 10
"""The first of the labels before the first round, and the answers between two rounds."""
_DECAY = 0.7
"""As of the simulated features of ``clinical bench export``: the tenth nearest is about as far as among skin images."""
_APART = 1.5
"""Of the spread: how far the middles of classes are apart, so that a classifier tells them, but not all of them."""
_CENTRE = 0.1
"""Of each number, so that their mean is about as long as what varies: features that cannot be negative all point one
way."""
_BLOCK = 10_000
"""Tasks that are made at once: 51 MB."""
_SALT = 2**32
"""Keeps the draws of features apart from those of classes."""


def main(pools: Sequence[int], repeats: int, *, frozen: bool) -> None:
    """Measure and print the table.

    Parameters
    ----------
    pools
        Numbers of tasks.
    repeats
        Rounds of each project, one after the other; the first one is its process's first, too.
    frozen
        Whether there is no adapted network.
    """
    width = f"{FROZEN}" if frozen else f"{FROZEN} + {ADAPTED}"
    title = f"Seconds of processor time (on the clock); {width} numbers an image; {available_cpus()} CPUs"
    stages = ("sync", "embed", "fit", "rank", "publish")
    table = Table(title=title, caption="Stages are given on the clock.")
    for heading in ("tasks", "round", *stages, "whole", "peak GB"):
        table.add_column(heading, justify="right")
    for tasks in pools:
        with tempfile.TemporaryDirectory(prefix="clinical-bench-") as name:
            fill(Path(name), tasks, frozen=frozen)
            project = SyntheticProject(Path(name), tasks, frozen=frozen)
            try:
                for number in range(1, repeats + 1):
                    reset_peak()
                    seconds, processor, wall = project.run_round()
                    whole = f"{processor:.1f} ({wall:.1f})"
                    each = (f"{seconds[stage]:.2f}" for stage in stages)
                    table.add_row(f"{tasks:,}", str(number), *each, whole, f"{peak_memory() / 2**30:.2f}")
            finally:
                project.close()
    Console().print(table)


def fill(folder: Path, tasks: int, *, frozen: bool) -> None:
    """Make project 1 in an empty folder, with a feature of every image, in a random order as rounds embed them.

    Parameters
    ----------
    folder
        MODEL_DIR.
    tasks
        How many.
    frozen
        Whether there is no adapted network, for which thumbnails are kept.
    """
    project = SyntheticProject(folder, tasks, frozen=frozen)
    workspace, stores = project.workspace, project.workspace.stores
    stores.projects.register(1)
    every = range(1, tasks + 1)
    stores.images.synchronise(1, {task: f"/data/upload/1/{task}.png" for task in every}, complete=True)
    stores.images.found(1, {task: _digest(task) for task in every})
    stores.projects.change(1, listed_at=time.time(), label_config=_CONFIG)
    features = workspace.features
    adapted = project.adapted_features
    codes, order = classes_of(tasks), np.random.default_rng(1).permutation(tasks)
    for start in range(0, tasks, _BLOCK):
        chosen = order[start : start + _BLOCK]
        names, part = [_digest(place + 1) for place in chosen.tolist()], codes[chosen]
        features.store.add(names, _rows(part, FROZEN, start))
        if adapted is not None:
            adapted.store.add(names, _rows(part, ADAPTED, start))
            adapted.thumbnails.add(names, np.zeros((len(names), adapted.thumbnails.dimension), dtype=np.uint8))
    project.close()


def classes_of(tasks: int) -> NDArray[np.int64]:
    """Return the class of each task by its place among all, shape (n,); the first ones, the exemplars, are rare."""
    codes = draw_classes(tasks, np.random.default_rng(0))
    codes[:_EXEMPLARS] = 0
    return codes


class SyntheticProject:
    """A project in a folder that was filled, with a Label Studio in memory whose readers know the truth.

    Parameters
    ----------
    folder, tasks, frozen
        As it was filled.
    """

    def __init__(self, folder: Path, tasks: int, *, frozen: bool) -> None:
        adaptation = "off" if frozen else "auto"
        settings = load_settings(model_dir=folder, label_studio_api_key="none", adaptation=adaptation)
        self._readers = _LabelStudio(classes_of(tasks))
        source = cast("ImageSource", _NoSource())
        self.workspace = Workspace(
            settings,
            Database.in_folder(folder),
            client=cast("LabelStudioClient", self._readers),
            source=source,
            watching_source=source,
            backbone=NoNetwork(folder, FROZEN),
        )
        self._project = self.workspace.project(1)
        self.adapted_features: AdaptedFeatures | None = None
        """What the adapted network made; ``None`` where there is none."""
        if not frozen:
            network = _NoAdaptedNetwork()
            store = self.workspace.feature_store(network.key, network.dimension)
            self.adapted_features = AdaptedFeatures(network, store, self.workspace.thumbnails)
            setattr(self._project, "adapted", lambda: self.adapted_features)  # noqa: B010 - mypy forbids it otherwise

    def close(self) -> None:
        """Close the database."""
        self.workspace.close()

    def queue(self) -> list[int]:
        """Return the tasks that readers are served, best first."""
        return list(self._readers.queue)

    def run_round(self) -> tuple[Mapping[str, float], float, float]:
        """Run a round and have readers answer the first tasks of its queue.

        Returns
        -------
        tuple
            Seconds of each stage on the clock, and of the whole by processor time and on the clock.
        """
        stores = self.workspace.stores
        stores.projects.request_round(1, "the benchmark", delay=0.0)
        row = stores.rounds.start(1)
        if row is None:
            raise ClinicalError("No round could be begun.", "This is a fault of the benchmark.")
        processor, started = time.process_time(), time.perf_counter()
        run_round(self._project, row)
        taken = time.process_time() - processor, time.perf_counter() - started
        report = stores.rounds.published_report(1)
        self._readers.answer(_ANSWERED)
        return report.seconds, *taken


class _NoSource:
    """Fetches no images: the features of all are there."""

    def forget_files(self) -> None:
        """Forget nothing."""


class _NoAdaptedNetwork(AdaptedBackbone):
    """Makes no features: they are there."""

    def __init__(self) -> None:
        Backbone.__init__(self, BackboneSpec("adapted", None, "0" * 64, THUMBNAIL), ADAPTED)

    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError


class _LabelStudio:
    """Holds the project's tasks, answers and queues in memory."""

    def __init__(self, codes: NDArray[np.int64]) -> None:
        self._codes, self._version = codes, ""
        self._answers = {task: self._annotation(task) for task in range(1, min(LABELS, len(codes)) + 1)}
        self._held: dict[str, list[int]] = {}

    @property
    def queue(self) -> Sequence[int]:
        return self._held.get(self._version, ())

    def answer(self, count: int) -> None:
        for task in self.queue[:count]:
            self._answers[task] = self._annotation(task)

    def project(self, project_id: int) -> Project:
        return Project(
            id=project_id,
            label_config=_CONFIG,
            model_version=self._version,
            task_number=len(self._codes),
            created_at=datetime.now(UTC),
        )

    def tasks(self, _project_id: int, *, after_id: int | None = None) -> list[Task]:
        first = (after_id or 0) + 1
        return [
            Task(id=task, data={"image": f"/data/upload/1/{task}.png"}) for task in range(first, len(self._codes) + 1)
        ]

    def annotated_tasks(self, _project_id: int) -> list[AnnotatedTask]:
        return [AnnotatedTask(id=task, annotations=[one]) for task, one in sorted(self._answers.items())]

    def tasks_with_answers(self, _project_id: int, tasks: Iterable[int]) -> list[AnnotatedTask]:
        return [
            AnnotatedTask(id=task, annotations=[self._answers[task]] if task in self._answers else [], is_labeled=True)
            for task in sorted(set(tasks))
        ]

    def users(self) -> list[User]:
        return [User(id=1)]

    def webhooks(self, _project_id: int) -> list[object]:
        return []

    def server_time(self) -> float:
        return time.time()

    def model_versions(self, _project_id: int) -> dict[str, int]:
        return {version: len(tasks) for version, tasks in self._held.items()}

    def import_predictions(self, _project_id: int, items: Sequence[Mapping[str, object]]) -> int:
        for item in items:
            self._held.setdefault(str(item["model_version"]), []).append(cast("int", item["task"]))
        return len(items)

    def update_project(self, project_id: int, *, model_version: str) -> Project:
        self._version = model_version
        return self.project(project_id)

    def _annotation(self, task: int) -> Annotation:
        chosen = {"diagnosis": CLASSES[self._codes[task - 1]]}
        if task <= _EXEMPLARS:
            chosen["exemplar"] = "more like this"
        result = [{"from_name": control, "value": {"choices": [value]}} for control, value in chosen.items()]
        return Annotation(id=task, result=result, completed_by=1, created_at=datetime.now(UTC), lead_time=5.0)


def _digest(task: int) -> str:
    """Return what identifies the image of a task: as long as a sha256, and in no order, as these are."""
    return f"{task * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4


def _rows(codes: NDArray[np.int64], width: int, start: int) -> NDArray[np.float32]:
    """Return features of unit length of tasks of these classes, which come after so many others."""
    spread = (np.arange(1, width + 1) ** -_DECAY).astype(np.float32)
    middles = _APART * np.random.default_rng(width).standard_normal((len(CLASSES), width)).astype(np.float32)
    generator = np.random.default_rng([_SALT, width, start])
    rows = generator.standard_normal((len(codes), width), dtype=np.float32)
    rows += middles[codes]
    rows *= spread
    rows += _CENTRE
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
