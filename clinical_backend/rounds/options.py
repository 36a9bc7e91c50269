"""What a project sets for itself, and where: on the page, in Label Studio's extra parameters, or nowhere.

A field that is set on the page wins over the same field of the extra parameters, which wins over the backend's own
setting. Label Studio sends the extra parameters again with every ``/setup``: they never touch the page's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from clinical_backend.settings import ProjectOptions

if TYPE_CHECKING:
    from clinical_backend.settings import Settings
    from clinical_backend.storage.stores import Stores

__all__ = ["Option", "read_options", "store_options"]

Source = Literal["page", "extra parameters", "backend"]


@dataclass(frozen=True, slots=True)
class Option:
    """The value of an option as a project has it.

    Attributes
    ----------
    value
        What holds.
    source
        Where it is set.
    """

    value: Any
    source: Source


def read_options(settings: Settings, stores: Stores, project_id: int) -> dict[str, Option]:
    """Return every field of :class:`ProjectOptions` as it holds for a project, with its source.

    Parameters
    ----------
    settings
        The backend's own.
    stores
        The state.
    project_id
        The project; an unknown one has the backend's own.
    """
    project = stores.projects.get(project_id)
    layers: tuple[tuple[Source, dict[str, Any]], ...] = (
        ("page", project.page_options if project else {}),
        ("extra parameters", project.options if project else {}),
    )
    options = {}
    for name in ProjectOptions.model_fields:
        source = next((source for source, given in layers if given.get(name) is not None), None)
        if source is None:
            options[name] = Option(getattr(settings, name), "backend")
        else:
            options[name] = Option(_read(name, dict(layers)[source][name]), source)
    return options


def _read(name: str, value: Any) -> Any:  # noqa: ANN401 - an option's value is of its own type
    """Return a stored value as it is written today; one that is wrong stays as it is, for a person to see."""
    try:
        return ProjectOptions.model_validate({name: value}).model_dump(mode="json")[name]
    except ValidationError:
        return value


def store_options(stores: Stores, project_id: int, options: ProjectOptions) -> None:
    """Set a project's options as its page gives them, in place of all that it gave before, and make a round due.

    Parameters
    ----------
    options
        A field that is ``None`` is left to the extra parameters and the backend.
    """
    stores.projects.change(project_id, page_options=options.model_dump(exclude_none=True, mode="json"))
    stores.projects.request_round(project_id, "the project's settings were changed", delay=0.0)
