"""The form of a project's own settings: what each does, and reading what was entered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from clinical_backend.settings import Acquisition, ProjectOptions, Training
from clinical_backend.text import storable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.datastructures import FormData

    from clinical_backend.workspace.options import Option

__all__ = ["ACQUISITIONS", "Field", "SettingsForm", "read_settings"]

ACQUISITIONS = {
    "auto": "chosen in each round from what it measures",
    "quality_diversity": "probably rare, and varied",
    "p_rare": "probably rare, most likely first",
    "flqmi": "like the exemplars (FLQMI)",
    "gcmi": "like the exemplars, without regard to variety (GCMI)",
    "com": "like the exemplars, saturating (COM)",
    "flvmi": "like the exemplars and typical of the pool (FLVMI)",
    "logdetmi": "like the exemplars, and varied (LogDetMI)",
    "entropy": "where the model is unsure",
    "random": "random, to compare with",
}
"""What each acquisition puts first, in a few words."""
_TRAININGS = {
    "head": "a linear classifier of fixed features: seconds",
    "finetune": "the network as well, in the background: minutes",
}
_YES_NO = {"true": "yes", "false": "no"}
_PREANNOTATIONS = {
    "off": "none: readers start from a blank form",
    "confident": "only where held-out labels prove the class right",
    "all": "all but random draws: also where the model may well be wrong",
}
_NONE: Mapping[str, Any] = {"rare_classes": (), "group_field": "", "class_control": ""}
"""What says of a field that there is none, whatever is set elsewhere."""

_SHARES = frozenset({"audit_share", "second_look_share", "second_look_random_share"})
"""Entered and shown as per cent."""


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
        What stands behind the number.
    numeric
        Whether a number is entered.
    """

    name: str
    label: str
    effect: str
    choices: Mapping[str, str]
    unit: str = ""
    numeric: bool = False


_FIELDS = (
    Field(
        "acquisition",
        "Order of the queue",
        "What puts a task first. Automatic is what found most in the measurements of the documentation.",
        {name: ACQUISITIONS[name] for name in get_args(Acquisition)},
    ),
    Field(
        "queue_size",
        "Queue size",
        "Tasks that a round publishes. A shorter queue follows new labels more closely; a longer one lasts"
        " when rounds are slow.",
        {},
        "tasks",
        numeric=True,
    ),
    Field(
        "audit_share",
        "Audit share",
        "Share of the queue that is drawn at random. These draws alone tell how frequent the rare cases are and how"
        " many may be left: a larger share narrows the intervals and finds fewer.",
        {},
        "%",
        numeric=True,
    ),
    Field(
        "second_look_share",
        "Second look",
        "Share of the queue that holds doubtful labels: another reader than the first one reads them again, in the"
        " ordinary stream and without the first answer. Needs two readers. 0: nobody is asked.",
        {},
        "%",
        numeric=True,
    ),
    Field(
        "second_look_random_share",
        "Ordinary cases read again",
        "Share of the queue that holds answered tasks drawn at random, to be read again in the same way. They tell how"
        " far readers agree on ordinary cases; doubtful labels tell of hard ones only.",
        {},
        "%",
        numeric=True,
    ),
    Field(
        "start_training_each_n_updates",
        "Labels until the next round",
        "A round is due after so many annotations were made or changed.",
        {},
        "labels",
        numeric=True,
    ),
    Field(
        "training", "Training", "What learns from the labels.", {name: _TRAININGS[name] for name in get_args(Training)}
    ),
    Field(
        "stars",
        "Stars",
        "Whether a reader's star on an answer tags it as an exemplar, and settles a tie. Stars that came with an import"
        " never do.",
        _YES_NO,
    ),
    Field(
        "preannotate",
        "Pre-annotations",
        "Which tasks come with the model's class ticked. A reader who trusts it will miss the rare case in which it is"
        " wrong.",
        _PREANNOTATIONS,
    ),
    Field(
        "class_control",
        "Control that is learnt",
        "Which control of the labeling config holds the classes. Without a choice, the first that can be learnt.",
        {},
    ),
    Field(
        "group_field",
        "Patient or study",
        "Field of the tasks' data that names the patient or study. Tasks of one never sit in both training and"
        " validation, and do not fill a queue. Empty: every task stands for itself.",
        {},
    ),
    Field(
        "group_cap",
        "Tasks of one patient in a queue",
        "At most so many of one patient or study are in a queue at a time.",
        {},
        "tasks",
        numeric=True,
    ),
)


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
    ) -> None:
        choices = {"class_control": {name: name for name in controls}}
        self.fields = tuple(replace(field, choices=choices.get(field.name, field.choices)) for field in _FIELDS)
        self.classes = tuple(classes)
        self.options = options
        self.declined = tuple(declined)
        self.problems = dict(problems or {})
        self._entered = entered

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
    entered = {field.name: storable(str(form.get(field.name, ""))).strip() for field in _FIELDS}
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
    try:
        options = ProjectOptions.model_validate(values)
    except ValidationError as error:
        problems |= {str(item["loc"][0]): _problem(str(item["loc"][0]), item["msg"]) for item in error.errors()}
        return None, entered, problems
    return (None if problems else options), entered, problems


_RANGES = {
    "queue_size": "Enter a whole number from 1 to 5000.",
    "audit_share": "Enter a number from 0 to 90.",
    "second_look_share": "Enter a number from 0 to 40.",
    "second_look_random_share": "Enter a number from 0 to 40.",
    "start_training_each_n_updates": "Enter a whole number, 1 or more.",
    "group_cap": "Enter a whole number, 1 or more.",
}


def _take_shares(entered: Mapping[str, str], values: dict[str, Any]) -> dict[str, str]:
    """Take what was entered in per cent as shares, and return what is wrong, by field."""
    problems = {}
    for name in _SHARES:
        if entered[name]:
            try:
                values[name] = float(entered[name]) / 100
            except ValueError:
                problems[name] = "Enter a number of per cent, such as 10."
                del values[name]
    return problems


def _problem(name: str, message: str) -> str:
    return _RANGES.get(name, f"{message}.")


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - an option's value is of its own type
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if name in _SHARES:
        return f"{100 * value:g}"
    return ", ".join(value) if isinstance(value, (tuple, list)) else str(value)
