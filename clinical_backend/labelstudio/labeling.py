"""Labeling configs: which control holds the classes, and with which one readers tag exemplars."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from clinical_backend.errors import InvalidArgumentError, LabelingConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from xml.etree.ElementTree import Element

__all__ = [
    "LESS_LIKE_THIS",
    "MORE_LIKE_THIS",
    "REASON_CONTROL",
    "LabelingScheme",
    "choice_result",
    "has_reason_control",
    "read_scheme",
    "text_result",
    "with_exemplar_control",
]

MORE_LIKE_THIS = "more like this"
LESS_LIKE_THIS = "not like this"
REASON_CONTROL = "reason"
"""Name of the ``TextArea`` that the reason of a queued task is written into, where no answer takes it along."""

_EXAMPLE = (
    'Use a config such as <View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image"'
    ' choice="single"><Choice value="a"/><Choice value="b"/></Choices></View>.'
)
_SINGLE = frozenset({"single", "single-radio"})
_OTHER_TOOLS = ("perregion", "peritem")
_FIELD = re.compile(r"\$([^\s$]+)")
_NEGATIVE = re.compile(r"(not|no|less|unlike|counter)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LabelingScheme:
    """What a labeling config asks of its readers, as far as this package uses it.

    Attributes
    ----------
    image_name
        Name of the ``Image`` tag.
    image_field
        Field of a task's data that holds the image's address.
    class_control
        Name of the ``Choices`` that holds the classes.
    classes
        The classes as they stand in annotations, in the order of the config: a choice's ``alias`` where it
        has one, else its ``value``.
    exemplar_control
        Name of the ``Choices`` that tags exemplars; ``None`` where there is none.
    more_value, less_value
        Its choices that tag an exemplar and a counter-exemplar; ``None`` where there is none.
    reason_control
        Name of the ``TextArea`` that shows why a task is in the queue; ``None`` where there is none whose text Label
        Studio leaves out of the answer.
    """

    image_name: str
    image_field: str
    class_control: str
    classes: tuple[str, ...]
    exemplar_control: str | None = None
    more_value: str | None = None
    less_value: str | None = None
    reason_control: str | None = None


def read_scheme(label_config: str, exemplar_control: str = "exemplar") -> LabelingScheme:
    """Find the classes and the exemplar control in a labeling config.

    The first ``Choices`` with ``choice="single"`` (the default) on an ``Image`` holds the classes. Choices
    for regions or for items of a list are of another kind and passed over. Parsed by defusedxml: the
    official SDK's interface takes two seconds to import, which every server process would pay.

    Parameters
    ----------
    label_config
        The project's XML.
    exemplar_control
        Name of the ``Choices`` that tags exemplars. Of its values, the first that reads like a refusal
        ("not like this") tags counter-exemplars, or failing that the second; the first other one tags
        exemplars.

    Raises
    ------
    LabelingConfigError
        When the config is not one that an image classifier can learn from.
    """
    root = _parse(label_config)
    elements = list(root.iter())
    images = {name: element for element in elements if element.tag == "Image" and (name := element.get("name"))}
    controls = [element for element in elements if element.get("toName") and element.get("name")]
    _refuse_duplicates([str(name) for element in [*images.values(), *controls] if (name := element.get("name"))])
    if not images:
        raise LabelingConfigError("The labeling config shows no Image with a name.", _EXAMPLE)
    choices = [element for element in controls if element.tag == "Choices" and not _is_for_other_tools(element)]
    on_images = [element for element in choices if element.get("toName") in images]
    for_classes = [element for element in on_images if element.get("name") != exemplar_control]
    if not for_classes:
        raise LabelingConfigError("The labeling config has no Choices for classes on its Image.", _EXAMPLE)
    single = [element for element in for_classes if element.get("choice", "single").lower() in _SINGLE]
    if not single:
        raise LabelingConfigError(
            f"The Choices {for_classes[0].get('name')!r} allows several classes per image.",
            'Set choice="single": the classifier learns one class per image.',
        )
    control = single[0]
    name, image_name = control.get("name", ""), control.get("toName", "")
    classes = _values(control)
    if len(classes) < 2:
        raise LabelingConfigError(f"The Choices {name!r} has fewer than two classes.", "Add a Choice for each class.")
    texts = [element for element in controls if element.tag == "TextArea" and not _is_for_other_tools(element)]
    for_reason = [text for text in texts if text.get("name") == REASON_CONTROL and text.get("toName") == image_name]
    reason = REASON_CONTROL if any(_is_left_out_of_answers(text, name) for text in for_reason) else None
    tagging = next((element for element in controls if element.get("name") == exemplar_control), None)
    if tagging is None:
        return LabelingScheme(image_name, _field(images[image_name]), name, classes, reason_control=reason)
    if tagging not in choices or tagging.get("toName") != image_name:
        raise LabelingConfigError(
            f"The control {exemplar_control!r} is no Choices on the image {image_name!r}.",
            "Rename it, or name another control in EXEMPLAR_CONTROL.",
        )
    more, less = _steering(_values(tagging))
    return LabelingScheme(image_name, _field(images[image_name]), name, classes, exemplar_control, more, less, reason)


def has_reason_control(label_config: str) -> bool:
    """Tell whether a labeling config has a text of the name that reasons are written into, whatever it is like."""
    return any(text.get("name") == REASON_CONTROL for text in _parse(label_config).iter("TextArea"))


def with_exemplar_control(label_config: str, exemplar_control: str = "exemplar") -> str:
    """Return the config with a control for tagging exemplars added; all else stays as it is written.

    Raises
    ------
    LabelingConfigError
        When the config is not one that :func:`read_scheme` accepts, or gives no place for the control.
    """
    scheme = read_scheme(label_config, exemplar_control)
    if scheme.exemplar_control is not None:
        return label_config
    head, closing, tail = label_config.rpartition("</")
    control = (
        f'  <Choices name="{exemplar_control}" toName="{scheme.image_name}" choice="multiple"'
        f' required="false" showInline="true">\n'
        f'    <Choice value="{MORE_LIKE_THIS}"/>\n    <Choice value="{LESS_LIKE_THIS}"/>\n'
        "  </Choices>\n"
    )
    separator = "" if head.endswith("\n") else "\n"
    extended = f"{head}{separator}{control}{closing}{tail}"
    if read_scheme(extended, exemplar_control).exemplar_control is None:
        raise LabelingConfigError("The exemplar control cannot be added to this labeling config.", _EXAMPLE)
    return extended


def choice_result(scheme: LabelingScheme, class_name: str) -> list[dict[str, Any]]:
    """Return the regions of a prediction that chooses a class; without a score, which would be read as a confidence.

    Parameters
    ----------
    scheme
        Of the project.
    class_name
        One of ``scheme.classes``.

    Raises
    ------
    InvalidArgumentError
        When the class is unknown: Label Studio would refuse the whole import.
    """
    if class_name not in scheme.classes:
        raise InvalidArgumentError(
            "class_name",
            f"the labeling config has no class {class_name!r}.",
            f"Use one of: {', '.join(scheme.classes)}.",
        )
    return [
        {
            "from_name": scheme.class_control,
            "to_name": scheme.image_name,
            "type": "choices",
            "value": {"choices": [class_name]},
        }
    ]


def text_result(scheme: LabelingScheme, text: str) -> list[dict[str, Any]]:
    """Return the regions of a prediction that writes a text into the reason control; none where there is none."""
    if scheme.reason_control is None:
        return []
    return [
        {
            "from_name": scheme.reason_control,
            "to_name": scheme.image_name,
            "type": "textarea",
            "value": {"text": [text]},
        }
    ]


def _parse(label_config: str) -> Element:
    try:
        root: Element = fromstring(label_config.strip(), forbid_dtd=True)
    except (ParseError, UnicodeError) as error:
        raise LabelingConfigError(f"The labeling config is no valid XML ({error}).", _EXAMPLE) from None
    except DefusedXmlException:
        raise LabelingConfigError(
            "The labeling config declares a document type or entities.", "Remove the declaration."
        ) from None
    return root


def _is_for_other_tools(element: Element) -> bool:
    flags = {key.lower(): value.strip().lower() for key, value in element.attrib.items()}
    return any(flags.get(flag) == "true" for flag in _OTHER_TOOLS)


def _is_left_out_of_answers(text: Element, class_control: str) -> bool:
    """Tell whether Label Studio leaves a control's value out of an answer that chooses a class.

    It shows the value all the same (``canBeSubmitted`` in its editor; tried in a browser).
    """
    flags = {key.lower(): value.strip() for key, value in text.attrib.items()}
    hidden = flags.get("visiblewhen", "").lower() == "choice-unselected"
    of_class = flags.get("whentagname", class_control) == class_control  # without a name, any choice counts
    return hidden and of_class and "whenchoicevalue" not in flags


def _refuse_duplicates(names: Iterable[str]) -> None:
    double = sorted(name for name, count in Counter(names).items() if count > 1)
    if double:
        raise LabelingConfigError(
            f"The labeling config uses the name {double[0]!r} more than once.",
            "Give every tag a name of its own.",
        )


def _values(control: Element) -> tuple[str, ...]:
    """Return the choices of a control as they stand in annotations."""
    name = control.get("name")
    if control.get("value"):
        raise LabelingConfigError(
            f"The Choices {name!r} takes its classes from the data of each task.",
            "List them as Choice tags: a classifier needs the same classes for all tasks.",
        )
    elements = [element for element in control.iter("Choice") if element.get("value")]
    if any(element.find(".//Choice") is not None for element in elements):
        raise LabelingConfigError(
            f"The Choices {name!r} nests its classes.", "List them on one level: one class per image."
        )
    values = [element.get("alias") or str(element.get("value")) for element in elements]
    _refuse_duplicates(values)
    if any(value.startswith("$") for value in values):
        raise LabelingConfigError(
            f"The Choices {name!r} takes a class from the data of each task.", "Write the class itself."
        )
    return tuple(values)


def _field(image: Element) -> str:
    if image.get("valueList"):
        raise LabelingConfigError(
            "The Image shows a list of images per task (valueList).",
            'Import one image per task, and show it with value="$image".',
        )
    match = _FIELD.fullmatch(image.get("value", "").strip())
    if match is None:
        raise LabelingConfigError(
            "The Image does not take its address from one field of the task.", 'Use value="$image".'
        )
    return match.group(1)


def _steering(values: tuple[str, ...]) -> tuple[str | None, str | None]:
    less = next((value for value in values if _NEGATIVE.match(value)), None)
    more = next((value for value in values if value != less), None)
    if less is None and len(values) > 1:
        less = values[1]
    return more, less
