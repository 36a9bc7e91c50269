"""What a project sets for itself, and where: on the page, in Label Studio's extra parameters, or nowhere.

A field that is set on the page wins over the same field of the extra parameters, which wins over the backend's own
setting. Label Studio sends the extra parameters again with every ``/setup``: they never touch the page's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from clinical_backend.errors import ClinicalError
from clinical_backend.project_settings import ProjectOptions, effect_on_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from clinical_backend.settings import Settings
    from clinical_backend.storage.schema import Project as Row
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = [
    "SETTINGS_CHANGED",
    "Option",
    "SettingsChangedError",
    "choose_rare",
    "decline",
    "drop_rare",
    "group_by",
    "look_for",
    "named_classes",
    "page_state",
    "read_options",
    "settings_of_queue",
    "settings_of_reading",
    "stay_declined",
    "store_options",
]

SETTINGS_CHANGED = "the project's settings were changed"
"""Why a round is due, for people."""

_OF_BACKEND = ("backbone", "image_size", "images_per_task", "adaptation", "seed")
"""Settings of the backend as a whole that a queue depends on."""

Source = Literal["page", "extra parameters", "backend"]


class SettingsChangedError(ClinicalError):
    """Somebody else changed a project's settings since they were shown."""

    def __init__(self) -> None:
        super().__init__("The settings were changed meanwhile.", "Look at what is set now, and save again.")


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


def read_options(project: ProjectWorkspace) -> dict[str, Option]:
    """Return every field of :class:`ProjectOptions` as it holds for a project, with its source.

    An unknown project has the backend's own.
    """
    row = project.row
    layers: tuple[tuple[Source, dict[str, Any]], ...] = (
        ("page", row.page_options if row else {}),
        ("extra parameters", row.options if row else {}),
    )
    options = {}
    for name in ProjectOptions.model_fields:
        source = next((source for source, given in layers if given.get(name) is not None), None)
        if source is None:
            options[name] = Option(getattr(project.workspace.settings, name), "backend")
        else:
            options[name] = Option(_read(name, dict(layers)[source][name]), source)
    return options


def _read(name: str, value: Any) -> Any:  # noqa: ANN401 - an option's value is of its own type
    """Return a stored value as it is written today; one that is wrong stays as it is, for a person to see."""
    try:
        return ProjectOptions.model_validate({name: value}).model_dump(mode="json")[name]
    except ValidationError:
        return value


def page_state(row: Row) -> str:
    """Return what a project's page sets, as text that tells whether it is still so."""
    return json.dumps({"page": row.page_options, "declined": row.declined}, sort_keys=True)


def store_options(
    project: ProjectWorkspace,
    options: ProjectOptions,
    *,
    declined: Sequence[str] | None = None,
    seen: str | None = None,
) -> None:
    """Set a project's options as its page gives them, in place of all that it gave before, and make a round due.

    Parameters
    ----------
    options
        A field that is not set is left to the extra parameters and the backend.
    declined
        Classes that stay declined, of those that are; ``None`` for all of them.
    seen
        What the page set when the form was shown, as :func:`page_state` has it; ``None`` where that is not known.

    Raises
    ------
    SettingsChangedError
        When it sets something else by now, and not what is to be set; nothing is changed then.
    """
    wanted = options.model_dump(exclude_unset=True, mode="json")

    def change(row: Row) -> None:
        left = [*stay_declined(row.declined, row.declined if declined is None else declined, options)]
        if seen is not None and page_state(row) != seen and (row.page_options, row.declined) != (wanted, left):
            raise SettingsChangedError
        row.page_options, row.declined = wanted, left

    project.stores.projects.edit(project.id, change)
    project.stores.projects.request_round(project.id, SETTINGS_CHANGED, delay=0.0)


def stay_declined(before: Sequence[str], wanted: Collection[str], options: ProjectOptions) -> tuple[str, ...]:
    """Return which declined classes stay so: those that are wanted and, by these options, not looked for."""
    return tuple(name for name in before if name in wanted and name not in options.rare_classes)


def choose_rare(project: ProjectWorkspace, names: Iterable[str]) -> None:
    """Look for these classes, in place of those that the page named before, and make a round due."""
    chosen = list(dict.fromkeys(names))

    def change(row: Row) -> None:
        _look_for(row, chosen)

    _change_target(project, change)


def look_for(project: ProjectWorkspace, name: str, *, beside: Sequence[str] = ()) -> None:
    """Look for a class too, beside what is looked for by name, and make a round due.

    Parameters
    ----------
    beside
        What is looked for without a name, and is to be kept.
    """

    def change(row: Row) -> None:
        _look_for(row, list(dict.fromkeys([*named_classes(project.workspace.settings, row), *beside, name])))

    _change_target(project, change)


def drop_rare(project: ProjectWorkspace, name: str) -> None:
    """Look for a class no more by name, and make a round due. Without the last one the choice is open again."""

    def change(row: Row) -> None:
        rest = [other for other in named_classes(project.workspace.settings, row) if other != name]
        _look_for(row, rest)
        if not rest:
            page = {key: value for key, value in row.page_options.items() if key != "rare_classes"}
            elsewhere = project.workspace.settings.rare_classes or row.options.get("rare_classes")
            row.page_options = row.page_options if elsewhere else page

    _change_target(project, change)


def group_by(project: ProjectWorkspace, field: str) -> bool:
    """Take a field of the tasks' data for the patient, unless a field is chosen already; return whether it is taken."""
    if read_options(project)["group_field"].value:
        return False

    def change(row: Row) -> None:
        row.page_options = row.page_options | {"group_field": field}

    project.stores.projects.edit(project.id, change)
    project.stores.projects.request_round(project.id, SETTINGS_CHANGED, delay=0.0)
    return True


def decline(project: ProjectWorkspace, name: str) -> None:
    """Note that a class is not looked for: nobody is asked again."""

    def change(row: Row) -> None:
        row.declined = [*(other for other in row.declined if other != name), name]

    project.stores.projects.edit(project.id, change)


def settings_of_queue(settings: Settings) -> dict[str, Any]:
    """Return the settings of a project that its queue depends on, as JSON holds them; none of them is a secret."""
    return settings.model_dump(mode="json", include={*ProjectOptions.model_fields, *_OF_BACKEND})


def settings_of_reading(settings: Settings) -> dict[str, Any]:
    """Return the settings of a project by which answers and tasks are read, as JSON holds them."""
    names = {name for name in ProjectOptions.model_fields if effect_on_queue(name) == "read"}
    return settings.model_dump(mode="json", include=names)


def named_classes(settings: Settings, row: Row) -> tuple[str, ...]:
    """Return the classes that are looked for by name."""
    layers = (row.page_options, row.options)
    own = next((given["rare_classes"] for given in layers if given.get("rare_classes") is not None), None)
    try:
        return ProjectOptions(rare_classes=own).rare_classes if own is not None else settings.rare_classes
    except ValueError:  # wrong extra parameters: the choice on the page takes their place
        return ()


def _look_for(row: Row, names: list[str]) -> None:
    row.page_options = row.page_options | {"rare_classes": names}
    row.declined = [name for name in row.declined if name not in names]


def _change_target(project: ProjectWorkspace, change: Callable[[Row], None]) -> None:
    project.stores.projects.edit(project.id, change)
    project.stores.projects.request_round(project.id, "what is looked for was changed", delay=0.0)
