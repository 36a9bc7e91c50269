"""The fine-tuning of a project: its backbone learns from its labels, beside the rounds.

The queue goes on being ordered by the detector on features that are made once; those of a fine-tuned network would
have to be made anew for the whole pool. What is fine-tuned answers for classes: in pre-annotations and on demand.

It does so only where it is better than the head on labels that neither learnt from: both learn from the same four
fifths of the labels, the head on the features that the published round uses, and the fine-tuned network must lose less
of the logarithm of the true class's probability, on the mean over the classes, by more than that mean's standard
error. This loss sees what the people see, the class and how sure of it the network is, and on a handful of labels it
says more than a count of hits.
"""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ImageError, ModelError
from clinical_backend.images.sources import ImageRequest
from clinical_backend.learner.backbones.preprocessing import to_square
from clinical_backend.learner.classifier import linear
from clinical_backend.learner.evaluation.network_gain import LEAST_OF_A_CLASS, cross_fitted, gain, hold_out
from clinical_backend.learner.finetuning.network import load_finetuned, save_finetuned
from clinical_backend.learner.finetuning.options import FinetuningOptions
from clinical_backend.multilabel import is_multilabel
from clinical_backend.origins import Origin
from clinical_backend.strategy.groups import group_codes
from clinical_backend.training.notes import Notes, run_alone
from clinical_backend.workspace.finetuning_record import FinetuningRecord, read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical_backend.learner.evaluation.network_gain import Gain
    from clinical_backend.learner.finetuning.network import FinetunedNetwork
    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = [
    "LabelledImage",
    "finetune_project",
    "finetuning_is_due",
    "finetuning_state",
    "labelled_images",
    "note_finetuning",
]

logger = logging.getLogger(__name__)

_LEAST_LABELS = 50
"""From so many labelled images on a project's backbone is fine-tuned: ten of each of five classes; not measured."""

_OF_STUDIES = "Fine-tuning learns from tasks of one image, and tasks of this project have several: the head answers."

_GROWTH = 1.2  # a convention: so the work of all fine-tunings is at most six times that of the last


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image with a label; of several tasks with the same image the first stands for all."""

    task_id: int
    uri: str
    digest: str
    label: str


def finetuning_is_due(project: ProjectWorkspace) -> bool:
    """Tell whether a project asks for fine-tuning, has labels enough, and a fifth more than the last one had."""
    return project.settings.training == "finetune" and _wait(project) is None


def finetuning_state(project: ProjectWorkspace) -> str | None:
    """Return where a project's fine-tuning stands, for people; ``None`` where it asks for none."""
    if project.settings.training != "finetune":
        return None
    record = read_record(project.finetuning_folder)
    wait = _wait(project)
    return " ".join(part for part in (record.message if record else None, wait) if part) or "Fine-tuning is due."


def finetune_project(project: ProjectWorkspace) -> str:
    """Fine-tune a project's backbone on all its labels, and use it where it is better than the head.

    A call that was cut off leaves what was in use, and is started anew.

    Returns
    -------
    str
        What was done, for people.

    Raises
    ------
    ClinicalError
        When the project asks for no fine-tuning, or training fails. The project goes on with what it has.
    """
    if project.settings.training != "finetune":
        raise ModelError(
            f"Project {project.id} asks for no fine-tuning.",
            "Set TRAINING=finetune, or training in the extra parameters of the project's backend.",
        )
    if project.stores.studies.any(project.id):
        raise ModelError(_OF_STUDIES, "Set TRAINING=head for this project.")
    folder = project.finetuning_folder
    noted, busy = partial(note_finetuning, project), "Another process is fine-tuning this project's backbone."
    return run_alone(folder, "fine-tuning", noted, partial(_finetune, project, folder), busy=busy)


def note_finetuning(project: ProjectWorkspace, message: str) -> None:
    """Write down where the fine-tuning of a project stands, for people; what is in use stays.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    folder = project.finetuning_folder
    record = read_record(folder) or FinetuningRecord(message="")
    write_record(folder, record.model_copy(update={"message": message}))


def _wait(project: ProjectWorkspace) -> str | None:
    """Return what a fine-tuning waits for, for people; ``None`` where it is due."""
    if project.stores.studies.any(project.id):
        return _OF_STUDIES
    labelled = labelled_images(project)
    reason = _too_few(image.label for image in labelled)
    if reason is not None:
        return reason
    record = read_record(project.finetuning_folder)
    if record is None or record.backbone != project.workspace.trainable.key:
        return None
    try:
        project.finetuned()
    except ModelError:
        return None
    needed = math.ceil(_GROWTH * record.labels)
    return None if len(labelled) >= needed else f"The next is due at {needed} labels; there are {len(labelled)}."


def _too_few(labels: Iterable[str]) -> str | None:
    counts = Counter(labels)
    if any(map(is_multilabel, counts)):
        return (
            "Fine-tuning learns one class per image: where an image may have several findings, the head learns alone."
        )
    if counts.total() < _LEAST_LABELS:
        return f"Fine-tuning waits for {_LEAST_LABELS} labelled images; there are {counts.total()}."
    if len(counts) < 2:
        return "Fine-tuning waits for labels of a second class."
    name, least = min(counts.items(), key=lambda item: (item[1], item[0]))
    if least < LEAST_OF_A_CLASS:
        return f"Fine-tuning waits for {LEAST_OF_A_CLASS} labels of {name!r}, to be judged by; there are {least}."
    return None


def labelled_images(project: ProjectWorkspace) -> list[LabelledImage]:
    """Return the images of a project whose label a person gave."""
    labels = project.stores.labels.all(project.id)
    images = project.stores.images.all(project.id, labels)
    found: dict[str, LabelledImage] = {}
    for task_id, entry in sorted(labels.items()):
        image = images.get(task_id)
        if entry.label is None or entry.origin is Origin.ACCEPTED:
            continue
        if image is not None and image.digest is not None:
            found.setdefault(image.digest, LabelledImage(task_id, image.uri, image.digest, entry.label))
    return list(found.values())


def _finetune(project: ProjectWorkspace, folder: Path) -> str:
    from clinical_backend.learner.finetuning.training import finetune  # noqa: PLC0415 (imports torch)

    settings = project.settings
    every = labelled_images(project)
    before = read_record(folder)
    if before is None or before.backbone != project.workspace.trainable.key:
        before = FinetuningRecord(message="")
    after = FinetuningRecord(message="", backbone=project.workspace.trainable.key, labels=len(every))
    labelled, pixels = _read(project.workspace, every)
    unread = len(every) - len(labelled)
    note = f" {unread} labelled images cannot be read and are left out." if unread else ""
    wait = _too_few(image.label for image in labelled)
    if wait is not None:
        return _end(project, before, before.model_copy(update={"labels": len(every)}), wait + note)

    classes = sorted({image.label for image in labelled})
    indices = np.asarray([classes.index(image.label) for image in labelled])
    groups = group_codes([image.task_id for image in labelled], project.stores.images.groups(project.id))
    warm, held_out = _start(folder, before, labelled, indices, groups, settings.seed)
    network = finetune(
        pixels,
        indices,
        classes,
        project.workspace.trainable,
        FinetuningOptions(
            blocks=None if settings.finetuning_blocks == "all" else settings.finetuning_blocks,
            seconds=settings.finetuning_seconds,
            seed=settings.seed,
            device=settings.device,
        ),
        warm_start=warm,
        held_out=held_out,
        progress=Notes(lambda message: write_record(folder, before.model_copy(update={"message": message}))),
    )
    verdict = _verdict(project, network, labelled, indices, held_out)
    figures = f"held-out labels: loss {-verdict.mean:+.2f} against the head, standard error {verdict.error:.2f}"
    message = f"Fine-tuned on {len(labelled)} labels in {network.report.seconds:.0f} s; "
    if not verdict.is_clear:
        return _end(project, before, after, f"{message}not better, so the head answers ({figures}).{note}")
    name = hashlib.sha256(network.weights + network.head.weights.tobytes()).hexdigest()[:16]
    save_finetuned(folder / name, network)
    digests = [np.array([image.digest for image in labelled])[rows].tolist() for rows in (~held_out, held_out)]
    after = after.model_copy(update={"network": name, "learnt": tuple(digests[0]), "held_out": tuple(digests[1])})
    return _end(project, before, after, f"{message}better, so it answers ({figures}).{note}")


def _read(workspace: Workspace, every: Sequence[LabelledImage]) -> tuple[list[LabelledImage], NDArray[np.uint8]]:
    """Fetch and decode the images in the size that the backbone takes; those that cannot be read are left out."""
    size = workspace.trainable.image_size
    kept, rows = [], []
    requests = (ImageRequest(image.task_id, image.uri) for image in every)
    for image, (_, content) in zip(every, workspace.source.fetch_many(requests), strict=True):
        try:
            if isinstance(content, ImageError):
                raise content
            rows.append(to_square(workspace.decode(content), size))
            kept.append(image)
        except ImageError as error:
            logger.warning("Task %d is left out of the fine-tuning: %s", image.task_id, error)
    return kept, np.stack(rows) if rows else np.empty((0, size, size, 3), dtype=np.uint8)


def _start(
    folder: Path,
    before: FinetuningRecord,
    labelled: Sequence[LabelledImage],
    indices: NDArray[np.intp],
    groups: NDArray[np.int64],
    seed: int,
) -> tuple[FinetunedNetwork | None, NDArray[np.bool_]]:
    """Return the network to go on from, if there is one, and the labels held out, from which it has not learnt."""
    digests = [image.digest for image in labelled]
    held_out_before, learnt = np.isin(digests, before.held_out), np.isin(digests, before.learnt)
    # A patient is on both sides only where none was named when the network learnt.
    split = np.isin(groups[held_out_before], groups[learnt]).any()
    if before.network is not None and not split:
        held_out = hold_out(indices, seed, held_out=held_out_before, learnt=learnt, groups=groups)
        try:
            warm = load_finetuned(folder / before.network)
        except ModelError as error:
            logger.warning("The fine-tuning begins with the backbone: %s", error)
        else:
            if np.bincount(indices[held_out], minlength=int(indices.max()) + 1).min() >= 2:
                return warm, held_out
    return None, hold_out(indices, seed, groups=groups)


def _verdict(
    project: ProjectWorkspace,
    network: FinetunedNetwork,
    labelled: Sequence[LabelledImage],
    indices: NDArray[np.intp],
    held_out: NDArray[np.bool_],
) -> Gain:
    """Return by how much less the network loses than a linear classifier that learnt from the same labels."""
    row = project.row
    published = project.published_model(row.published_version) if row and row.published_version else None
    representation = published[1] if published else project.representations()[0]
    tasks = [image.task_id for image in labelled]
    found = project.features_of(representation, tasks)
    there = np.isin(tasks, found.tasks)
    learnt = indices[there & ~held_out]
    if network.held_out_logits is None or set(learnt) != set(indices):
        raise ModelError("Too few labelled images have features to judge the fine-tuning by.", "Start a round first.")
    evaluated, truth = held_out[there], indices[there & held_out]
    head = linear.fit(found.features[~evaluated], learnt, network.head.classes)
    reference = cross_fitted([head.logits(found.features[evaluated])], truth)
    return gain(reference, network.held_out_logits[there[held_out]], truth)


def _end(project: ProjectWorkspace, before: FinetuningRecord, after: FinetuningRecord, message: str) -> str:
    """Write down what came of it; from then on it holds. Networks that are not in use are deleted."""
    folder = project.finetuning_folder
    write_record(folder, after.model_copy(update={"message": message}))
    for old in folder.iterdir():
        if old.is_dir() and old.name != after.network:
            shutil.rmtree(old, ignore_errors=True)
    logger.info("Project %d: %s", project.id, message)
    if after.network != before.network:
        _answer_for_queue(project)
        project.stores.projects.request_round(project.id, "the backbone was fine-tuned on the labels")
    return message


def _answer_for_queue(project: ProjectWorkspace) -> None:
    """Have the network look at the queue, so that the next round, which is much the same, need not wait for it."""
    finetuned = project.finetuned()
    published = project.stores.rounds.published(project.id)
    if finetuned is None or published is None:
        return
    tasks = [entry.task_id for entry in project.stores.rounds.queue(published.id)]
    images = project.stores.images.all(project.id, tasks)
    requests = [ImageRequest(task, images[task].uri) for task in tasks if task in images]
    project.look_up(finetuned.probabilities, requests, math.inf)
