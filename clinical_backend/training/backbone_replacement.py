"""A changed backbone takes the place of the one that serves a project once it is ready, unless labels say it is worse.

Rounds and readers go on with the features that there are, new images too, while a process of low priority makes those
of the new backbone. Then both are judged as a round's classifier is for promotion: by the average precision of what is
looked for, each label ranked by classifiers that had not seen it. Worse is what is so in 98 % of the resamplings.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from clinical_backend.errors import ModelError
from clinical_backend.multilabel import has_any, is_multilabel
from clinical_backend.origins import Origin
from clinical_backend.strategy.feature_comparison import compare_features
from clinical_backend.training.backbone_trial import embed_images
from clinical_backend.training.notes import Notes, run_alone
from clinical_backend.workspace.backbone_record import (
    BackboneChoice,
    BackboneTrial,
    ServingRecord,
    load_serving,
    load_trial,
    save_serving,
    save_trial,
)
from clinical_backend.workspace.controls import classes_of
from clinical_backend.workspace.known_images import every_image

if TYPE_CHECKING:
    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.workspace.backbone_record import State
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = [
    "has_labels_to_compare",
    "note_replacement",
    "replace_backbone",
    "replacement_is_due",
    "replacement_state",
    "serve",
]

logger = logging.getLogger(__name__)

_MOST_UNREAD = 0.1
"""Share of the images that may lack a feature of the new backbone when it begins to serve: a queue goes without those
until later rounds have made them. More are a sign of a host that is away; chosen, not measured."""


def replacement_is_due(project: ProjectWorkspace) -> bool:
    """Tell whether a project with a queue is served by another backbone than the settings name, not found worse yet."""
    row, wanted = project.row, project.workspace.configured.choice
    served = load_serving(project.serving_folder)
    if row is None or row.published_version is None or served is None or served.choice == wanted:
        return False
    trial = load_trial(project.serving_folder)
    return trial is None or trial.choice != wanted or trial.state != "declined"


def replacement_state(project: ProjectWorkspace) -> str | None:
    """Return how it stands with the backbone that the settings name, for people; ``None`` where it always served."""
    wanted, trial = project.workspace.configured.choice, load_trial(project.serving_folder)
    if trial is not None and trial.choice == wanted:
        return trial.message
    served = load_serving(project.serving_folder)
    return None if served is None or served.choice == wanted else _goes_on(served.choice, wanted)


def replace_backbone(project: ProjectWorkspace, *, force: bool = False) -> str:
    """Make the features of the backbone that the settings name, and have it serve a project unless it is worse.

    A call that was cut off is gone on with by the next.

    Parameters
    ----------
    force
        Whether it is to serve at once, whatever labels say; what has no feature yet is left to the rounds.

    Returns
    -------
    str
        What was done, for people.

    Raises
    ------
    ClinicalError
        When the backbone cannot be loaded, or too many images cannot be read. The project goes on with what it has.
    """
    served, wanted = load_serving(project.serving_folder), project.workspace.configured
    if served is None or served.choice == wanted.choice:
        return f"{wanted.choice} serves project {project.id} already, or from its next round on."
    if force:
        return serve(project, "as it was told to, without asking the labels")
    noted, work = partial(note_replacement, project), partial(_replace, project, served)
    busy = "Another process is changing this project's backbone."
    return run_alone(project.serving_folder, "change of the backbone", noted, work, busy=busy)


def note_replacement(project: ProjectWorkspace, message: str) -> None:
    """Write down that the change of a project's backbone failed, and why, for people.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    _note_unless_serving(project, "failed", message)


def serve(project: ProjectWorkspace, reason: str) -> str:
    """Have the backbone that the settings name serve a project from its next round on, which is due.

    Returns
    -------
    str
        What was done, for people.

    Raises
    ------
    ModelError
        When the backbone is not known, or the folder cannot be written.
    """
    folder, wanted = project.serving_folder, project.workspace.configured
    before = load_serving(folder)
    replaced = None if before is None or before.choice == wanted.choice else before.choice
    save_serving(folder, ServingRecord(choice=wanted.choice, key=wanted.spec.key, replaced=replaced))
    message = f"{wanted.choice} serves: {reason}."
    _note(project, "serving", message)
    project.stores.projects.request_round(project.id, "the backbone was changed")
    logger.info("Project %d: the backbone %s", project.id, message)
    return message


def has_labels_to_compare(project: ProjectWorkspace) -> bool:
    """Tell whether a project has labels of what it looks for, and others."""
    rare = project.stores.rounds.published_report(project.id).target
    return len({has_any(label, rare) for label in _labels(project).values()}) == 2


def _replace(project: ProjectWorkspace, served: ServingRecord) -> str:
    wanted = project.workspace.configured
    if wanted.spec.key == served.key:
        return serve(project, "it is the same network by another name")
    candidate = wanted.project_as_set(project.id)
    _embed(candidate, _goes_on(served.choice, wanted.choice))
    verdict = _compared(project, candidate)
    if load_serving(project.serving_folder) != served:
        return "The project's backbone was changed by another process meanwhile."
    if not verdict.worse:
        return serve(project, verdict.reason)
    message = (
        f"{wanted.choice} is not used, and {served.choice} goes on: {verdict.reason}. Set BACKBONE back, or have it"
        f" serve all the same by `clinical replace-backbone --project {project.id} --force`."
    )
    _note(project, "declined", message)
    logger.warning("Project %d: the backbone %s", project.id, message)
    return message


def _goes_on(served: BackboneChoice, wanted: BackboneChoice) -> str:
    return f"{served} goes on until the images are embedded with {wanted} and the labels have compared the two."


def _embed(candidate: ProjectWorkspace, state: str) -> None:
    """Make the features of the images that were read, and of those that are read meanwhile.

    Parameters
    ----------
    state
        What is said of it meanwhile.

    Raises
    ------
    ModelError
        When too many images cannot be read.
    """
    features = replace(candidate.workspace.features, thumbnails=None)  # the rounds keep these
    write = partial(_note_unless_serving, candidate, "running")
    write(state)
    notes = Notes(lambda done: write(f"{state} {done}"))

    def progress(done: int, total: int) -> None:
        notes(done / max(1, total), f"{done} of {total} images are embedded.")

    before, (kept, lacking) = -1, _kept(candidate)
    while lacking and kept > before:  # what was read meanwhile, too; what was replaced in place is the rounds' to read
        embed_images(features, lacking, progress)
        before, (kept, lacking) = kept, _kept(candidate)
    if len(lacking) > _MOST_UNREAD * (kept + len(lacking)):
        raise ModelError(
            f"{len(lacking)} of {kept + len(lacking)} images cannot be read for {candidate.workspace.choice}.",
            "See that their hosts answer; the server tries again in an hour, and goes on with the earlier one.",
        )


def _kept(candidate: ProjectWorkspace) -> tuple[int, list[KnownImage]]:
    """Return of how many images that were read the features are kept, and which images lack one."""
    images = {image.digest: image for image in every_image(candidate) if image.digest and not image.is_study}
    known = candidate.workspace.features.store.positions(images)
    return len(known), [image for digest, image in images.items() if digest not in known]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Whether a backbone is worse than the one that serves, beyond chance, and the figures, for people."""

    worse: bool
    reason: str


def _compared(project: ProjectWorkspace, candidate: ProjectWorkspace) -> _Verdict:
    """Judge both backbones by their frozen features of the labelled tasks that have those of both."""
    classes = classes_of(project)
    labels = {task: label for task, label in _labels(project).items() if is_multilabel(label) or label in classes}
    rare = project.stores.rounds.published_report(project.id).target
    present, other = (one.features_of(one.representations()[0], labels) for one in (project, candidate))
    groups, seed = project.stores.images.groups(project.id), project.workspace.settings.seed
    said = compare_features(other, present, labels, classes, rare, groups=groups, seed=seed)
    if said.found is None:
        return _Verdict(False, f"{said.rare} rare labels of {said.labels} are too few to compare the two by")
    figures = (
        f"average precision of {', '.join(rare)} {said.found.candidate:.2f}, with {project.workspace.choice}"
        f" {said.found.published:.2f}, by {said.labels} labels, {said.rare} of them rare"
    )
    return _Verdict(said.found.worse, f"{'worse' if said.found.worse else 'not worse'} beyond chance ({figures})")


def _labels(project: ProjectWorkspace) -> dict[int, str]:
    """Return the label of each task that somebody looked at."""
    entries = project.stores.labels.all(project.id)
    return {
        task: entry.label
        for task, entry in entries.items()
        if entry.label is not None and entry.origin is not Origin.ACCEPTED
    }


def _note_unless_serving(project: ProjectWorkspace, state: State, message: str) -> None:
    """Note it unless somebody had the backbone serve meanwhile."""
    served = load_serving(project.serving_folder)
    if served is None or served.choice != project.workspace.configured.choice:
        _note(project, state, message)


def _note(project: ProjectWorkspace, state: State, message: str) -> None:
    choice = project.workspace.configured.choice
    save_trial(project.serving_folder, BackboneTrial(choice=choice, state=state, message=message))
