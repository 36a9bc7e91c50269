"""What a project's labeling config asks of its readers, as the last round read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, LabelingConfigError
from clinical_backend.labelstudio.labeling.scheme import class_controls, read_scheme

if TYPE_CHECKING:
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.storage.schema import Project
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["classes_of", "learnable_controls", "learnt_of", "scheme_of"]


def scheme_of(workspace: Workspace, project: Project) -> LabelingScheme | None:
    """Return what a project's labeling config asks; ``None`` while no round has read it.

    Raises
    ------
    ClinicalError
        When it cannot be learnt from, or the project's settings are wrong.
    """
    if project.label_config is None:
        return None
    settings = workspace.settings_of(project.id)
    return read_scheme(project.label_config, settings.exemplar_control, settings.class_control)


def classes_of(workspace: Workspace, project: Project) -> tuple[str, ...]:
    """Return the classes of a project's labeling config; none while no round has read it, or where it is refused."""
    try:
        scheme = scheme_of(workspace, project)
    except ClinicalError:  # the project's problem says what is wrong with it
        return ()
    return () if scheme is None else scheme.classes


def learnt_of(workspace: Workspace, project: Project) -> str | None:
    """Return which control is learnt and which are not, or why none is; ``None`` while that is not known."""
    try:
        scheme = scheme_of(workspace, project)
    except ClinicalError as error:
        return str(error)
    return None if scheme is None else scheme.learnt


def learnable_controls(workspace: Workspace, project: Project) -> tuple[str, ...]:
    """Return the controls that a project could learn, in the order of its labeling config."""
    if project.label_config is None:
        return ()
    try:
        return class_controls(project.label_config, workspace.settings_of(project.id).exemplar_control)
    except LabelingConfigError:
        return ()
    except ClinicalError:  # the project's options are wrong: they may name the control
        return class_controls(project.label_config, workspace.settings.exemplar_control)
