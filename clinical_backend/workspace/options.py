"""What a project sets for itself, and where: on the page, in Label Studio's extra parameters, or nowhere.

A field that is set on the page wins over the same field of the extra parameters, which wins over the backend's own
setting. Label Studio sends the extra parameters again with every ``/setup``: they never touch the page's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from clinical_backend.project_settings import ProjectOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from clinical_backend.settings import Settings
    from clinical_backend.storage.schema import Project
    from clinical_backend.storage.stores.stores import Stores

__all__ = [
    "Option",
    "choose_rare",
    "decline",
    "drop_rare",
    "look_for",
    "named_classes",
    "read_options",
    "store_options",
]

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


def store_options(
    stores: Stores, project_id: int, options: ProjectOptions, *, declined: Sequence[str] | None = None
) -> None:
    """Set a project's options as its page gives them, in place of all that it gave before, and make a round due.

    Parameters
    ----------
    options
        A field that is ``None`` is left to the extra parameters and the backend.
    declined
        Classes that stay declined, of those that are; ``None`` for all of them.
    """

    def change(project: Project) -> None:
        kept = project.declined if declined is None else [name for name in project.declined if name in declined]
        project.page_options = options.model_dump(exclude_unset=True, mode="json")
        project.declined = [name for name in kept if name not in options.rare_classes]

    stores.projects.edit(project_id, change)
    stores.projects.request_round(project_id, "the project's settings were changed", delay=0.0)


def choose_rare(stores: Stores, project_id: int, names: Iterable[str]) -> None:
    """Look for these classes, in place of those that the page named before, and make a round due."""
    chosen = list(dict.fromkeys(names))

    def change(project: Project) -> None:
        _look_for(project, chosen)

    _change_target(stores, project_id, change)


def look_for(settings: Settings, stores: Stores, project_id: int, name: str, *, beside: Sequence[str] = ()) -> None:
    """Look for a class too, beside what is looked for by name, and make a round due.

    Parameters
    ----------
    beside
        What is looked for without a name, and is to be kept.
    """

    def change(project: Project) -> None:
        _look_for(project, list(dict.fromkeys([*named_classes(settings, project), *beside, name])))

    _change_target(stores, project_id, change)


def drop_rare(settings: Settings, stores: Stores, project_id: int, name: str) -> None:
    """Look for a class no more by name, and make a round due. Without the last one the choice is open again."""

    def change(project: Project) -> None:
        rest = [other for other in named_classes(settings, project) if other != name]
        _look_for(project, rest)
        if not rest:
            page = {key: value for key, value in project.page_options.items() if key != "rare_classes"}
            elsewhere = settings.rare_classes or project.options.get("rare_classes")
            project.page_options = project.page_options if elsewhere else page

    _change_target(stores, project_id, change)


def decline(stores: Stores, project_id: int, name: str) -> None:
    """Note that a class is not looked for: nobody is asked again."""

    def change(project: Project) -> None:
        project.declined = [*(other for other in project.declined if other != name), name]

    stores.projects.edit(project_id, change)


def named_classes(settings: Settings, project: Project) -> tuple[str, ...]:
    """Return the classes that are looked for by name."""
    layers = (project.page_options, project.options)
    own = next((given["rare_classes"] for given in layers if given.get("rare_classes") is not None), None)
    try:
        return ProjectOptions(rare_classes=own).rare_classes if own is not None else settings.rare_classes
    except ValueError:  # wrong extra parameters: the choice on the page takes their place
        return ()


def _look_for(project: Project, names: list[str]) -> None:
    project.page_options = project.page_options | {"rare_classes": names}
    project.declined = [name for name in project.declined if name not in names]


def _change_target(stores: Stores, project_id: int, change: Callable[[Project], None]) -> None:
    stores.projects.edit(project_id, change)
    stores.projects.request_round(project_id, "what is looked for was changed", delay=0.0)
