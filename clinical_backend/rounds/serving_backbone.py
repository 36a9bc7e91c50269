"""Which backbone a project's rounds work with: the one that served before, until another one has taken its place."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.base import DEFAULT_BACKBONE, is_of
from clinical_backend.learner.backbones.packaged import PACKAGED, packaged_spec
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.training.backbone_replacement import has_labels_to_compare, serve
from clinical_backend.workspace.backbone_record import BackboneChoice, ServingRecord, load_serving, save_serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["note_serving", "with_serving_backbone"]

logger = logging.getLogger(__name__)


def with_serving_backbone(project: ProjectWorkspace) -> ProjectWorkspace:
    """Return a project with the backbone that its rounds are to work with.

    It is the one that made its features so far. That of the settings takes its place here at once where there is
    nothing to go on with, no queue or no labels to compare the two by, and where the earlier one cannot be loaded any
    more; else ``training/backbone_replacement.py`` does that.
    """
    wanted = project.workspace.configured
    try:
        served = load_serving(project.serving_folder) or _recognised(project)
        if served is None or served.choice == wanted.choice:
            return wanted.project_as_set(project.id)
        reason = _reason_to_change(project, served)
        if reason is not None:
            serve(project, reason)
    except ModelError as error:
        logger.warning("Project %d goes on with its backbone: %s", project.id, error)
    return wanted.project(project.id)


def note_serving(project: ProjectWorkspace) -> None:
    """Note which backbone serves a project, once a round has published with it."""
    served, workspace = load_serving(project.serving_folder), project.workspace
    try:
        if served is None or (served.choice == workspace.choice and served.key != workspace.spec.key):
            save_serving(project.serving_folder, ServingRecord(choice=workspace.choice, key=workspace.spec.key))
    except ModelError as error:
        logger.warning("Project %d: which backbone serves it is not noted: %s", project.id, error)


def _recognised(project: ProjectWorkspace) -> ServingRecord | None:
    """Note which backbone a project is served by that an earlier release published for; ``None`` if that is unknown."""
    row, wanted = project.row, project.workspace.configured
    if row is None or row.published_version is None:
        return None
    folder = project.checkpoint_folder(row.published_version)
    if not folder.is_dir():
        return None
    _, metadata = load_checkpoint(folder)
    for choice, key in _candidates(wanted):
        if is_of(key, metadata.backbone):
            record = ServingRecord(choice=choice, key=key)
            save_serving(project.serving_folder, record)
            return record
    return None


def _candidates(wanted: Workspace) -> Iterator[tuple[BackboneChoice, str]]:
    """Yield backbones that may have served, with their keys: that of the settings, and the defaults of all releases."""
    yield wanted.choice, wanted.spec.key
    for name in (DEFAULT_BACKBONE, *(architecture.removeprefix("tf_") for architecture in PACKAGED)):
        spec = packaged_spec(name, None)
        if spec is not None:
            yield BackboneChoice(name, None), spec.key


def _reason_to_change(project: ProjectWorkspace, served: ServingRecord) -> str | None:
    """Say why the backbone that serves a project cannot go on, or need not; ``None`` where it can."""
    row = project.row
    if row is None or row.published_version is None:
        return "no queue is published yet"
    if not has_labels_to_compare(project):
        return "there are no labels to compare it with the earlier one by"
    present = project.workspace.configured.with_backbone(served.choice)
    try:
        if present.spec.key != served.key:
            return f"{served.choice}, which served before, has other weights or sizes by now"
        _ = present.backbone
    except ModelError as error:
        return f"{served.choice}, which served before, cannot be loaded any more ({error.problem.rstrip('.')})"
    return None
