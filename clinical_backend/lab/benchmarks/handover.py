"""A whole project by commands, from the first task to the exported model, on real images with patients.

``clinical bench handover``: the labels as a data set, the model card and the model's file are made by the commands,
the file is run by another process, and every figure of the card is computed anew from what these wrote.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.errors import ClinicalError
from clinical_backend.handover.model_card import FIGURES
from clinical_backend.lab.benchmarks.card_figures import compare
from clinical_backend.lab.benchmarks.patient_images import SETS, load_patient_images
from clinical_backend.lab.demo.reading import CLASS_CONTROL, read_project, wait_for_round, wait_until_settled
from clinical_backend.lab.demo.run import create_image_project
from clinical_backend.lab.experiments.datasets import DataError
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.learner.checkpoint import load_held_out
from clinical_backend.settings import load_settings
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.stores.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clinical_backend.lab.benchmarks.card_figures import Difference
    from clinical_backend.lab.benchmarks.patient_images import PatientImage

__all__ = ["Checked", "HandedOver", "handed_over", "main"]

_CACHE = Path(".cache")
_IMAGES, _SET_ASIDE, _LABELS, _EXEMPLARS = 500, 150, 200, 3
"""So that some classes and subgroups have the ten cases that a figure needs, and a set takes minutes; chosen."""
_BATCH = 50
"""Labels between two rounds. A queue holds twice as many, so that it never runs out: Label Studio would then serve
tasks of the test set."""
_RARE = {"ham10000": "mel", "chest_xray_128": "NORMAL"}
_SETTINGS = {
    "ADAPTATION": "off",
    "GROUP_FIELD": "patient",
    "QUEUE_SIZE": 2 * _BATCH,
    "START_TRAINING_EACH_N_UPDATES": _BATCH,
    "AUDIT_SHARE": 0.5,
}
_WAIT_SECONDS = 600.0
"""Longest wait for a test set or a command, so that only a hang ends. Not measured."""
_BY_RANK = ("average_precision", "sensitivity", "specificity")
"""What depends on the order of the probabilities and on the likeliest alone: the file's differ by what float32 rounds
otherwise, which moves a Brier score and none of these."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Figures of a card, beside the same computed anew.

    Attributes
    ----------
    what
        Which card, and from what they were computed.
    differences
        Each figure.
    """

    what: str
    differences: Sequence[Difference]

    @property
    def largest(self) -> float:
        """The largest difference."""
        return max(one.size for one in self.differences)


def main(sets: Sequence[str] = tuple(SETS)) -> None:
    """Do all of it with each set that is there, and print how far the figures are apart."""
    console = Console(width=150)
    table = Table(title="Figures of a model card beside scikit-learn's, of what the commands wrote")
    for heading in ("images", "figures computed from", "figures", "of them of subgroups", "largest difference"):
        table.add_column(heading, justify="left" if heading in {"images", "figures computed from"} else "right")
    for name in sets:
        try:
            images = load_patient_images(name, _IMAGES, cache=_CACHE / "experiments")
        except DataError as error:
            console.print(f"{SETS[name]}: left out. {error}")
            continue
        with handed_over(images) as project:
            for checked in project.check(_RARE[name]):
                subgroups = sum(" of " in one.of for one in checked.differences)
                count = len(checked.differences)
                table.add_row(SETS[name], checked.what, str(count), str(subgroups), f"{checked.largest:.1e}")
    if table.rows:
        console.print(table)


class HandedOver:
    """A project of real images that is set aside from, read, and handed over.

    Parameters
    ----------
    client, backend
        Label Studio, and the backend that serves it.
    project, tasks
        The project, and the image of each task.
    folder
        Where the commands write.
    """

    def __init__(
        self,
        client: LabelStudioAdmin,
        backend: BackendServer,
        project: int,
        tasks: Mapping[int, PatientImage],
        folder: Path,
    ) -> None:
        self._client, self._backend = client, backend
        self._project, self._tasks, self._folder = project, tasks, folder

    def check(self, rare: str, *, set_aside: int = _SET_ASIDE, labels: int = _LABELS) -> list[Checked]:
        """Go the whole way, and return the figures of the card of the labels, and of that of the test set.

        Parameters
        ----------
        rare
            The class that the reader tags exemplars of.
        set_aside, labels
            Tasks of the test set, and those that are read from queues.
        """
        connect(self._client, self._project, backend_url=self._backend.url)
        self._run("testset", "--size", str(set_aside), "--seed", "1")
        aside = self._draw_aside()
        self._read({task: image.label for task, image in self._tasks.items() if task not in aside}, rare, labels)
        checked = [self._check_labels()]
        reader = SimulatedReader(self._client)
        for task in sorted(aside):
            reader.annotate(task, {CLASS_CONTROL: [self._tasks[task].label]})
        return [*checked, self._check_predictions(aside)]

    def _draw_aside(self) -> frozenset[int]:
        """Return the tasks of the test set, which the next round draws."""
        stores = self._stores()
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline:
            wait_until_settled(self._backend, self._project)
            if aside := stores.test_sets.ids(self._project):
                stores.database.close()
                return frozenset(aside)
            httpx2.post(f"{self._backend.url}/projects/{self._project}/rounds", timeout=60.0).raise_for_status()
        raise ClinicalError("No test set was drawn.", f"See {self._backend.log}.")

    def _read(self, truth: Mapping[int, str], rare: str, labels: int) -> None:
        """Read the queues, and wait for the model that has learnt from all labels."""
        read_project(
            self._client,
            self._backend,
            self._project,
            truth,
            rare,
            exemplars=_EXEMPLARS,
            labels=labels,
            batch=_BATCH,
            progress=lambda _outcome, _name: None,
        )
        httpx2.post(f"{self._backend.url}/projects/{self._project}/rounds", timeout=60.0).raise_for_status()
        wait_for_round(self._backend, self._project, 0, labels=labels + _EXEMPLARS)
        wait_until_settled(self._backend, self._project)

    def _check_labels(self) -> Checked:
        """Compare the card of the readers' labels with what the exported table and the kept judgements say."""
        fields = self._fields()
        self._run("export", "--out", str(self._folder / "labels"), *_named(fields))
        card = self._card("card-of-labels", fields)
        with (self._folder / "labels" / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = {int(row["task"]): row for row in csv.DictReader(file)}
        stores = self._stores()
        row = stores.projects.get(self._project)
        stores.database.close()
        version = "" if row is None else row.published_version or ""
        held_out = load_held_out(self._folder / "backend" / "checkpoints" / str(self._project) / version)
        if held_out is None:
            raise ClinicalError("Nothing judges the model.", f"See {self._backend.log}.")
        tasks = held_out.tasks.tolist()
        chosen = [rows[task] for task in tasks]
        weights = np.array([float(row["weight"] or 0) for row in chosen]) if card["weighted"] else np.ones(len(tasks))
        of = weights > 0
        counted = [row for row, weight in zip(chosen, weights, strict=True) if weight > 0]
        differences = compare(
            card,
            [row["label"] for row in counted],
            held_out.probabilities[of].astype(np.float64),
            weights[of],
            {name: [row[f"data:{name}"] for row in counted] for name in fields},
        )
        return Checked("labels.csv with its weights, and out-of-fold probabilities", differences)

    def _check_predictions(self, aside: frozenset[int]) -> Checked:
        """Compare the card of the test set with what another process says of its images by the exported file."""
        fields = self._fields()
        model, folder = self._folder / "model.onnx", self._folder / "held-out"
        self._run("export-model", str(model))
        card = self._card("card-of-test-set", fields, "--model", str(model))
        folder.mkdir()
        for task in aside:
            (folder / f"{task}{self._tasks[task].suffix}").write_bytes(self._tasks[task].content)
        said = _command(["predict", str(model), str(folder)], dict(os.environ))
        rows = list(csv.DictReader(io.StringIO(said)))
        images = [self._tasks[int(row["file"].partition(".")[0])] for row in rows]
        classes = [one["name"] for one in card["classes"]]
        differences = compare(
            card,
            [image.label for image in images],
            np.array([[float(row[f"probability of {name}"]) for name in classes] for row in rows]),
            fields={name: [str(image.fields.get(name, "")) for image in images] for name in fields},
            figures=_BY_RANK,
        )
        return Checked("predictions of the exported model, by another process", differences)

    def _card(self, name: str, fields: Sequence[str], *more: str) -> dict[str, Any]:
        self._run("card", "--out", str(self._folder / name), *_named(fields), *more)
        card: dict[str, Any] = json.loads((self._folder / name / FIGURES).read_text(encoding="utf-8"))
        return card

    def _fields(self) -> list[str]:
        return sorted({name for image in self._tasks.values() for name in image.fields})

    def _run(self, command: str, *given: str) -> None:
        """Run a command on the project, as a person does."""
        _command([command, "--project", str(self._project), *given], self._backend.environment)

    def _stores(self) -> Stores:
        return Stores(open_database(load_settings(model_dir=self._backend.folder)))


@contextmanager
def handed_over(images: Sequence[PatientImage], cache: Path = _CACHE) -> Iterator[HandedOver]:
    """Start Label Studio and a backend, and make a project of some images.

    Parameters
    ----------
    cache
        Where the migrated database of Label Studio and the exported backbone are kept.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clinical-handover-")))
        server = stack.enter_context(LabelStudioServer(folder / "label-studio", cache=cache))
        key = server.account.token
        client = stack.enter_context(LabelStudioAdmin(server.url, key))
        load_backbone(folder=cache / "backbones", device="cpu")
        shutil.copytree(cache / "backbones", folder / "backend" / "backbones")
        settings = {**_SETTINGS, "LOCAL_FILES_DOCUMENT_ROOT": server.files}
        backend = stack.enter_context(BackendServer(folder / "backend", server.url, key, **settings))
        project, tasks = _new_project(client, server, images)
        yield HandedOver(client, backend, project, tasks, folder)


def _new_project(
    client: LabelStudioAdmin, server: LabelStudioServer, images: Sequence[PatientImage]
) -> tuple[int, dict[int, PatientImage]]:
    folder = server.files / "handover"
    folder.mkdir(parents=True)
    files = [f"{number:05}{image.suffix}" for number, image in enumerate(images)]
    for file, image in zip(files, images, strict=True):
        (folder / file).write_bytes(image.content)
    classes = sorted({image.label for image in images})
    fields = [{"patient": image.patient, **image.fields} for image in images]
    project, ids = create_image_project(client, folder, files, classes, "Handed over", fields)
    return project.id, dict(zip(ids, images, strict=True))


def _named(fields: Sequence[str]) -> list[str]:
    return [word for name in fields for word in ("--field", name)]


def _command(given: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run ``clinical`` in another process, and return what it prints.

    Raises
    ------
    ClinicalError
        When it fails.
    """
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "clinical_backend", *given],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=_WAIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ClinicalError(f"`clinical {given[0]}` failed.", done.stderr.strip() or done.stdout.strip())
    return done.stdout
