"""What a project's labeling config asks of its readers, as the last round read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, LabelingConfigError
from clinical_backend.labelstudio.labeling.scheme import class_controls, read_scheme

if TYPE_CHECKING:
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.project_settings import ProjectSettings
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["classes_of", "learnable_controls", "learnt_of", "read_as_set", "scheme_of"]


def read_as_set(label_config: str, settings: ProjectSettings) -> LabelingScheme:
    """Return what a labeling config asks, read as a project's settings say.

    Raises
    ------
    LabelingConfigError
        When it cannot be learnt from.
    """
    return read_scheme(
        label_config,
        settings.exemplar_control,
        settings.class_control,
        settings.empty_answer,
        settings.rare_classes,
    )


def scheme_of(project: ProjectWorkspace) -> LabelingScheme | None:
    """Return what a project's labeling config asks; ``None`` while no round has read it.

    Raises
    ------
    ClinicalError
        When it cannot be learnt from, or the project's settings are wrong.
    """
    row = project.row
    if row is None or row.label_config is None:
        return None
    return read_as_set(row.label_config, project.settings)


def classes_of(project: ProjectWorkspace) -> tuple[str, ...]:
    """Return the classes of a project's labeling config; none while no round has read it, or where it is refused."""
    try:
        scheme = scheme_of(project)
    except ClinicalError:  # the project's problem says what is wrong with it
        return ()
    return () if scheme is None else scheme.classes


def learnt_of(project: ProjectWorkspace) -> str | None:
    """Return which control is learnt and which are not, or why none is; ``None`` while that is not known."""
    try:
        scheme = scheme_of(project)
    except ClinicalError as error:
        return str(error)
    return None if scheme is None else scheme.learnt


def learnable_controls(project: ProjectWorkspace) -> tuple[str, ...]:
    """Return the controls that a project could learn, in the order of its labeling config."""
    row = project.row
    if row is None or row.label_config is None:
        return ()
    try:
        return class_controls(row.label_config, project.settings.exemplar_control)
    except LabelingConfigError:
        return ()
    except ClinicalError:  # the project's options are wrong: they may name the control
        return class_controls(row.label_config, project.workspace.settings.exemplar_control)
