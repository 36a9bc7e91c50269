"""The form of a project's own settings: what each does, and reading what was entered."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from clinical_backend.acquisition import ACQUISITIONS, settable
from clinical_backend.labelstudio.labeling.task_fields import MOST_VALUES
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic.fields import FieldInfo
    from starlette.datastructures import FormData

    from clinical_backend.labelstudio.labeling.task_fields import TaskField
    from clinical_backend.workspace.project_options import Option

__all__ = ["Field", "SettingsForm", "as_entered", "in_words", "orders", "read_settings"]

_AUTOMATIC = {"auto": "chosen in each round from what it measures"}
_FIELDS_OF_TASKS = ("group_field", "site_field")
_NONE: Mapping[str, Any] = {
    name: "" if field.default is None else ()
    for name, field in ProjectOptions.model_fields.items()
    if field.default in (None, ())
}
"""What says of a field that there is none, whatever is set elsewhere."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting as the form shows it.

    Attributes
    ----------
    name
        Of the option.
    label
        For people.
    effect
        What it does, in a sentence or two.
    choices
        Value and meaning of each choice; empty where something is entered.
    unit
        What stands behind a number that is entered.
    expert
        Whether it is for those who know the methods.
    """

    name: str
    label: str
    effect: str
    choices: Mapping[str, str]
    unit: str
    expert: bool


def orders() -> dict[str, str]:
    """Return what each acquisition puts first, in a few words."""
    return _AUTOMATIC | {name: one.label for name, one in ACQUISITIONS.items()}


def fields() -> tuple[Field, ...]:
    """Return the entries of the form: every setting that has a title."""
    return tuple(_entry(name, option) for name, option in ProjectOptions.model_fields.items() if option.title)


def _entry(name: str, option: FieldInfo) -> Field:
    choices = _extra(name).get("choices", {})
    if name == "acquisition":
        choices = {order: text for order, text in orders().items() if order in ("auto", *settable())}
    elif option.annotation is bool:
        choices = {"true": "yes", "false": "no"}
    extra = _extra(name)
    texts = option.title or "", option.description or ""
    return Field(name, *texts, choices, extra.get("unit", ""), bool(extra.get("expert", False)))


def _extra(name: str) -> dict[str, Any]:
    extra = ProjectOptions.model_fields[name].json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def _is_share(name: str) -> bool:
    """Tell whether it is entered and shown as per cent."""
    return name in ProjectOptions.model_fields and _extra(name).get("unit") == "%"


class SettingsForm:
    """A project's settings as a form.

    Parameters
    ----------
    classes
        Classes of the labeling config.
    options
        Every option as it holds now.
    entered
        What was entered and refused, by field; without it, what the page has set.
    problems
        What is wrong with it, by field.
    declined
        Classes of which the lead said that they are not looked for.
    controls
        Controls of the labeling config that can be learnt.
    task_fields
        Fields of the tasks' data; empty while they are not known.
    seen
        What the page had set when the form was shown first, as :func:`page_state` has it.
    """

    def __init__(
        self,
        classes: Sequence[str],
        options: Mapping[str, Option],
        entered: Mapping[str, str] | None = None,
        problems: Mapping[str, str] | None = None,
        *,
        declined: Sequence[str] = (),
        controls: Sequence[str] = (),
        task_fields: Sequence[TaskField] = (),
        seen: str = "",
    ) -> None:
        self.options = options
        choices = {"class_control": {name: name for name in controls}}
        choices |= {name: self._of_tasks(name, task_fields) for name in _FIELDS_OF_TASKS if task_fields}
        self.fields = tuple(replace(field, choices=choices.get(field.name, field.choices)) for field in fields())
        self.classes = tuple(classes)
        self.declined = tuple(declined)
        self.seen = seen
        self.problems = dict(problems or {})
        self._entered = entered

    def _of_tasks(self, name: str, task_fields: Sequence[TaskField]) -> dict[str, str]:
        """Return the fields of the tasks as choices, and what is set if no task has it."""
        now = _shown(name, self.options[name].value)  # Label Studio writes fields as $field, and so may a setting
        known = {now if one.name == now.removeprefix("$") else one.name: _counted(one) for one in task_fields}
        return known if not now or now in known else known | {now: f"{now}: no task has it"}

    def value(self, name: str) -> str:
        """Return what the field shows; empty where the page sets nothing."""
        if self._entered is not None:
            return self._entered.get(name, "")
        option = self.options[name]
        return _shown(name, option.value) if option.source == "page" else ""

    def default(self, name: str) -> str:
        """Return what holds while the page sets nothing, as far as is known here."""
        option = self.options[name]
        return "" if option.source == "page" else _shown(name, option.value)

    def source(self, name: str) -> str:
        """Return where a setting comes from."""
        return self.options[name].source

    @property
    def shows_experts(self) -> bool:
        """Whether something for experts is set here, or refused."""
        names = [field.name for field in self.fields if field.expert]
        return any(name in self.problems or self.value(name) for name in names)

    @property
    def gone(self) -> tuple[str, ...]:
        """Classes that the page names and the labeling config does not have any more."""
        option = self.options["rare_classes"]
        return tuple(name for name in option.value if name not in self.classes) if option.source == "page" else ()

    def is_none(self, name: str) -> bool:
        """Tell whether the page says that there is none."""
        if self._entered is not None:
            return bool(self._entered.get(f"{name}_none"))
        option = self.options[name]
        return option.source == "page" and name in _NONE and not option.value

    def can_be_none(self, name: str) -> bool:
        """Tell whether it needs saying that there is none, since something else would hold."""
        return self.is_none(name) or (name in _NONE and bool(self.default(name)))

    def is_declined(self, name: str) -> bool:
        """Tell whether a class is ticked as one that is not looked for."""
        entered = self._entered or {}
        return name in entered["declined"].split("\n") if "declined" in entered else name in self.declined

    def is_sought(self, name: str) -> bool:
        """Tell whether a class is ticked as a target."""
        if self._entered is not None:
            return name in self._entered.get("rare_classes", "").split("\n")
        option = self.options["rare_classes"]
        return option.source == "page" and name in option.value


def read_settings(
    form: FormData, classes: Sequence[str], before: Mapping[str, Option], *, controls: Sequence[str] = ()
) -> tuple[ProjectOptions | None, dict[str, str], dict[str, str]]:
    """Return the options that a form asks for, or ``None``; what was entered; and what is wrong, by field.

    Parameters
    ----------
    form
        As it was sent.
    classes
        Classes of the labeling config.
    before
        Every option as it held: what the page set and the form has no field for is kept.
    controls
        Controls of the labeling config that can be learnt.
    """
    entered = {field.name: str(form.get(field.name, "")).strip() for field in fields()}
    sought = [str(name) for name in form.getlist("rare_classes")]
    entered["rare_classes"] = "\n".join(sought)
    kept = {name: option.value for name, option in before.items() if option.source == "page" and name not in entered}
    values: dict[str, Any] = kept | {name: value for name, value in entered.items() if value}
    problems: dict[str, str] = {}
    for name in _NONE:
        entered[f"{name}_none"] = str(form.get(f"{name}_none", ""))
        if entered[f"{name}_none"] and entered[name]:
            problems[name] = "Say either what to take or that there is none, not both."
    if controls and entered["class_control"] and entered["class_control"] not in controls:
        problems["class_control"] = "The labeling config has no such control any more that can be learnt."
    if unknown := set(sought) - set(classes):
        problems["rare_classes"] = f"{len(unknown)} of these classes are not in the labeling config any more."
    elif sought and set(sought) >= set(classes):
        problems["rare_classes"] = "Not every class can be rare."
    values.pop("rare_classes", None)
    if sought:
        values["rare_classes"] = tuple(sought)
    values |= {name: none for name, none in _NONE.items() if entered[f"{name}_none"] and not entered[name]}
    problems |= _take_shares(entered, values)
    entered["declined"] = "\n".join(str(name) for name in form.getlist("declined"))
    try:
        options = ProjectOptions.model_validate(values)
    except ValidationError as error:
        problems |= {str(item["loc"][0]): _problem(str(item["loc"][0]), item["msg"]) for item in error.errors()}
        return None, entered, problems
    return (None if problems else options), entered, problems


def as_entered(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return how what a page sets stands in the fields of its form; values may be of any kind that JSON has."""
    texts = {field.name: _shown(field.name, settings.get(field.name)) for field in fields()}
    rare = settings.get("rare_classes")
    nothing = {f"{name}_none": "1" if name in settings and not settings[name] else "" for name in _NONE}
    return texts | nothing | {"rare_classes": "\n".join(map(str, rare if isinstance(rare, list) else ()))}


def _take_shares(entered: Mapping[str, str], values: dict[str, Any]) -> dict[str, str]:
    """Take what was entered in per cent as shares, and return what is wrong, by field."""
    problems = {}
    for name in entered:
        if _is_share(name) and entered[name]:
            try:
                values[name] = float(entered[name]) / 100
            except ValueError:
                problems[name] = "Enter a number of per cent, such as 10."
                del values[name]
    return problems


def _problem(name: str, message: str) -> str:
    """Say what is to be entered: the bounds of a number, or what the model says."""
    bounds = ProjectOptions.model_fields[name].metadata
    scale, kind = (100, "number") if _is_share(name) else (1, "whole number")
    least = next((bound.ge for bound in bounds if hasattr(bound, "ge")), None)
    most = next((bound.le for bound in bounds if hasattr(bound, "le")), None)
    if least is None:
        return f"{message}."
    if most is None:
        return f"Enter a {kind}, {scale * least:g} or more."
    return f"Enter a {kind} from {scale * least:g} to {scale * most:g}."


def _counted(field: TaskField) -> str:
    """Say how many tasks have a field, and how many values it has."""
    tasks = amount(field.tasks, "task")
    values = amount(field.values, "value", "different values")
    return f"{field.name}: {tasks}, {values if field.values < MOST_VALUES else f'{MOST_VALUES:,} values or more'}"


def in_words(name: str, value: Any) -> tuple[str, str]:  # noqa: ANN401
    """Return what a setting is called, and a value of it with its unit, as the form has both.

    The value may be of any kind that JSON has: *Extra params* are whatever somebody typed.
    """
    field = next((one for one in fields() if one.name == name), None)
    label = field.label if field is not None else name.replace("_", " ").capitalize()
    if value is None:
        return label, "not set"
    text = _shown(name, value) or "none"
    return label, f"{text} {field.unit}" if field is not None and field.unit else text


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - an option's value is of its own type
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if _is_share(name) and isinstance(value, float | int) and abs(value) < sys.maxsize:
        return f"{100 * value:g}"
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
