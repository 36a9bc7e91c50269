"""What a round learns from answers about single images of tasks."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from clinical_backend.strategy.bags import SaidOfImages
from clinical_backend.strategy.image_classes import fit_images
from clinical_backend.strategy.instances import Instances
from clinical_backend.workspace.study_features import images_of, read_instances
from clinical_backend.workspace.witness_files import save_image_classifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.storage.schema import Round
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["keep_image_classifier", "said_of_images"]

_MOST = 16_000
"""Images that are learnt from, those of the last tasks: 82 MB in 1,280 dimensions, as of the sample of the pool."""


def said_of_images(project: ProjectWorkspace, snapshot: Snapshot) -> SaidOfImages:
    """Return what readers said of single images, by their places among those of a task.

    An answer names the place in the list of one ``Image``; where the labeling config has several, or pages of files are
    images of the task, that tells no place among all images of the task.
    """
    labels = snapshot.labels
    if len(snapshot.scheme.every_view) > 1 or not (labels.images or labels.tagged_images):
        return SaidOfImages()
    studies = project.stores.studies
    several, others = set(studies.tasks(project.id)), studies.pages(project.id, labels.answered)
    said = {task: labels.images[task] for task in labels.seen if task in labels.images and task not in others}
    return SaidOfImages(
        {task: places if task in several else _of_the_only(places) for task, places in said.items()},
        {
            task: places if task in several else {0}
            for task, places in labels.tagged_images.items()
            if task not in others
        },
    )


def _of_the_only(places: Mapping[int, str]) -> dict[int, str]:
    """Return what is said of a task's only image, wherever it stands among empty places; nothing if that differs."""
    return {0: next(iter(places.values()))} if len({*places.values()}) == 1 else {}


def keep_image_classifier(project: ProjectWorkspace, snapshot: Snapshot, row: Round) -> None:
    """Learn what single images show, where readers say so, and keep it beside the model of a round.

    Raises
    ------
    ModelError
        When its folder cannot be written.
    """
    labels = said_of_images(project, snapshot).labels
    if not labels:
        return
    workspace = project.workspace
    known = images_of(project.stores, project.id, labels)
    shown = {task: {at: one for at, one in images.items() if at in labels[task]} for task, images in known.items()}
    last = [*reversed(shown)]
    counts = accumulate(len(shown[task]) for task in last)
    some = [task for task, count in zip(last, counts, strict=True) if count <= _MOST]
    wanted = {task: shown[task] for task in reversed(some) if shown[task]}
    parts = [part for part in read_instances(project.frozen, wanted) if len(part)]
    if not parts:
        return
    classifier = fit_images(Instances.joined(parts), labels, snapshot.scheme.classes, seed=workspace.settings.seed)
    if classifier is not None:
        save_image_classifier(project.checkpoint_folder(row.version), workspace.backbone.key, classifier, row.number)
