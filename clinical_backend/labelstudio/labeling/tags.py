"""The tags of a labeling config, and why those that a reader could name a class with are not learnt from."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from clinical_backend.errors import LabelingConfigError
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from xml.etree.ElementTree import Element

__all__ = [
    "EXAMPLE",
    "ClassControl",
    "Tags",
    "attributes_of",
    "choices_of",
    "is_for_other_tools",
    "is_per_item",
    "parse",
]

EXAMPLE = (
    'Use a config such as <View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image"'
    ' choice="single"><Choice value="a"/><Choice value="b"/></Choices></View>.'
)
_ADD = (
    'Add a control about the whole image, such as <Choices name="diagnosis" toName="{image}" choice="single">'
    '<Choice value="a"/><Choice value="b"/></Choices>.'
)
_SINGLE = frozenset({"single", "single-radio"})
_SEVERAL = "multiple"
_VARIABLE = re.compile(r"\$[\w\[\].{}]", re.ASCII)

_LEARNT = frozenset({"Choices", "Taxonomy"})
_HOLD_CLASSES = frozenset({*_LEARNT, "Rating"})
"""Tags of which a person may expect that they are learnt."""

_OTHER_TOOLS = {
    "perregion": ("regions", "Take"),
    "peritem": ("items of a list", 'Show the list with valueList="$images", or take'),
}
"""What a control is about that is not about the whole image, and how the cure begins."""

_HOLD = {
    "Rating": "numbers of stars",
    "Number": "numbers",
    "DateTime": "dates",
    "TextArea": "texts",
    "Pairwise": "which of two is better",
    "Ranker": "an order",
    "Relations": "relations",
}
"""What the answers of each kind of control are; all others hold regions of the image."""


@dataclass(frozen=True, slots=True)
class ClassControl:
    """A control on an image, and whether the classes of images can be learnt from it.

    Attributes
    ----------
    element
        Its tag.
    name
        Of the control.
    refusal
        Why not; ``None`` where they can, as far as its kind goes.
    """

    element: Element
    name: str
    refusal: LabelingConfigError | None

    @property
    def holds_classes(self) -> bool:
        """Whether a person may expect that it is learnt."""
        return self.element.tag in _HOLD_CLASSES

    @property
    def allows_several(self) -> bool:
        """Whether an answer may choose several of its values."""
        choice = attributes_of(self.element).get("choice", "single").strip().lower()
        return self.element.tag == "Taxonomy" or choice == _SEVERAL

    @property
    def is_per_item(self) -> bool:
        """Whether each image of a list has an answer of its own."""
        return is_per_item(self.element)


class Tags:
    """What a labeling config is made of, as far as this package looks.

    Parameters
    ----------
    label_config
        The project's XML.

    Raises
    ------
    LabelingConfigError
        When it is no XML, declares a document type, or uses a name twice.
    """

    def __init__(self, label_config: str) -> None:
        self.root = parse(label_config)
        repeated = {inner for element in self.root.iter("Repeater") for inner in element.iter()}
        self.repeats = bool(repeated)
        self._elements = [element for element in self.root.iter() if element not in repeated]
        self.images = {
            name: element for element in self._elements if element.tag == "Image" and (name := element.get("name"))
        }
        self.controls = [element for element in self._elements if _is_control(element)]
        named = [*self.images.values(), *self.controls]
        _refuse_duplicates(str(element.get("name")) for element in named if element.get("name"))

    @property
    def control_names(self) -> frozenset[str]:
        """Names of all controls, repeated ones left out."""
        return frozenset(str(element.get("name")) for element in self.controls)

    def require_image(self) -> None:
        """Make sure that there is an image.

        Raises
        ------
        LabelingConfigError
            When there is none, or only such as cannot be used; it says which tag is the matter.
        """
        if self.images:
            return
        if self.repeats:
            raise LabelingConfigError(
                "The labeling config repeats its Image for a list of images in each task (Repeater).",
                f'Show the list with <Image name="image" valueList="$images"/>. {EXAMPLE}',
            )
        written = [str(element.tag) for element in self._elements if str(element.tag).lower() == "image"]
        if written and "Image" not in written:
            raise _other_case(written[0], "Image")
        raise LabelingConfigError("The labeling config shows no Image with a name.", EXAMPLE)

    def class_controls(self, exemplar_control: str) -> list[ClassControl]:
        """Return the controls on images in the order of the config, the one that tags exemplars left out."""
        controls = []
        for element in self.controls:
            name = str(element.get("name"))
            about = self._about(element)
            if name != exemplar_control and about is not None:
                controls.append(ClassControl(element, name, _refusal(element, name, about, self.shows_list(about))))
        return controls

    def without_classes(self, exemplar_control: str) -> LabelingConfigError:
        """Return what to say where there is no control on an image but, perhaps, the one that tags exemplars."""
        only = " but the one that tags exemplars" if exemplar_control in self.control_names else ""
        add = _ADD.format(image=next(iter(self.images), "image"))
        return LabelingConfigError(f"The labeling config has no Choices for classes on its Image{only}.", add)

    def shows_list(self, name: str) -> bool:
        """Tell whether an ``Image`` shows a list of images, which readers page through."""
        image = self.images.get(name)
        return image is not None and bool(attributes_of(image).get("valuelist", "").strip())

    def _about(self, element: Element) -> str | None:
        """Return which images a control is about, as its ``toName`` says; ``None`` for none of them."""
        about = attributes_of(element).get("toname", "")
        return about if not about or not self.images.keys().isdisjoint(about.split(",")) else None


def parse(label_config: str) -> Element:
    """Return the root of a labeling config.

    Raises
    ------
    LabelingConfigError
        When it is no XML, or declares a document type.
    """
    try:
        root: Element = fromstring(label_config.strip().removeprefix("\ufeff"), forbid_dtd=True)
    except (ParseError, UnicodeError, LookupError, ValueError) as error:
        if isinstance(error, DefusedXmlException):
            raise LabelingConfigError(
                "The labeling config declares a document type or entities.", "Remove the declaration."
            ) from None
        raise LabelingConfigError(f"The labeling config is no valid XML ({error}).", EXAMPLE) from None
    return root


def attributes_of(element: Element) -> dict[str, str]:
    """Return a tag's attributes by their name in small letters, as Label Studio's page reads them."""
    return {key.lower(): value for key, value in element.attrib.items()}


def is_for_other_tools(element: Element) -> str | None:
    """Return what makes a control one for regions, or for items of a list; ``None`` where it is for the image."""
    written = {key.lower(): key for key in element.attrib}
    found = next((flag for flag in _OTHER_TOOLS if _is_set(element, flag)), None)
    return None if found is None else written[found]


def is_per_item(element: Element) -> bool:
    """Tell whether a control asks of each image of a list by itself."""
    return _is_set(element, "peritem") and not _is_set(element, "perregion")


def _is_set(element: Element, flag: str) -> bool:
    return attributes_of(element).get(flag, "").strip().lower() == "true"


def choices_of(control: Element) -> tuple[str, ...]:
    """Return the choices of a control as they stand in annotations: a choice's ``alias`` where it has one.

    Raises
    ------
    LabelingConfigError
        When they are not the same for all tasks, not on one level, or one of them is there twice.
    """
    name = control.get("name")
    values = []
    for element in control.iter():
        if not isinstance(element.tag, str) or element.tag.lower() != "choice":
            continue
        if element.tag != "Choice":
            raise LabelingConfigError(
                f"The Choices {name!r} writes its classes as <{printable(element.tag)}>.", "Write them as <Choice>."
            )
        if element.find(".//Choice") is not None:
            raise LabelingConfigError(
                f"The Choices {name!r} nests its classes.",
                "List them on one level, one class per image, and without allowNested.",
            )
        alias, value = element.get("alias"), element.get("value")
        if (element.text or "").strip() and not alias:
            raise LabelingConfigError(
                f"The Choices {name!r} writes a class as text between tags.",
                f'Write <Choice value="{printable((element.text or "").strip())}"/>.',
            )
        if alias == "":
            raise LabelingConfigError(f"A choice of {name!r} has an empty alias.", "Fill it in, or take it away.")
        if alias is None and value and _VARIABLE.search(value):
            raise LabelingConfigError(
                f"The Choices {name!r} takes a class from the data of each task.",
                "Write the class itself; where its name has a $, give the choice an alias without one.",
            )
        if alias or value:
            values.append(str(alias or value))
    double = [value for value, count in Counter(values).items() if count > 1]
    if double:
        raise LabelingConfigError(
            f"The Choices {name!r} lists the class {printable(double[0])!r} more than once.", "Keep one of them."
        )
    return tuple(values)


def _is_control(element: Element) -> bool:
    if not isinstance(element.tag, str) or not element.get("name"):
        return False
    known = element.tag in {*_LEARNT, *_HOLD} or element.tag.endswith("Labels")
    return "toname" in attributes_of(element) or known


def _refusal(element: Element, name: str, about: str, shows_list: bool) -> LabelingConfigError | None:
    """Return why the classes of images cannot be learnt from a control, as its kind goes."""
    tag, flags = str(element.tag), attributes_of(element)
    add = _ADD.format(image=about.partition(",")[0] or "image")
    for proper in sorted(_LEARNT):
        if tag != proper and tag.lower() == proper.lower():
            return _other_case(tag, proper)
    if tag not in _LEARNT:
        held = _HOLD.get(tag, "regions of the image")
        return LabelingConfigError(f"The answers of the {printable(tag)} {name!r} are {held}, no classes.", add)
    problem = cure = ""
    if (other := is_for_other_tools(element)) and not (is_per_item(element) and shows_list):
        kind, instead = _OTHER_TOOLS[other.lower()]
        problem, cure = f"is about {kind} ({other}), not about the image.", f"{instead} {other} away. Or: {add}"
    elif "toName" not in element.attrib:
        problem = "writes toName in another case." if "toname" in flags else "does not say which Image it is about."
        cure = 'Give it toName="image", the name of the Image.'
    elif "," in about:
        problem, cure = f"is about several tags (toName={about!r}).", f"Give it one Image. Or: {add}"
    elif tag == "Choices" and flags.get("choice", "single").strip().lower() not in {*_SINGLE, _SEVERAL}:
        problem = f"has choice={printable(flags['choice'])!r}, which Label Studio does not know."
        cure = f'Set choice="single" for one class per image, or choice="multiple" for several findings. Or: {add}'
    elif flags.get("allownested", "").strip().lower() == "true":
        problem = "nests its classes (allowNested): its answers are paths."
        cure = f"Take allowNested away and list the classes on one level. Or: {add}"
    elif tag == "Choices" and element.get("value"):
        problem = "takes its classes from the data of each task."
        cure = f"List them as Choice tags: a classifier needs the same classes for all tasks. Or: {add}"
    return LabelingConfigError(f"The {tag} {name!r} {problem}", cure) if problem else None


def _other_case(written: str, proper: str) -> LabelingConfigError:
    return LabelingConfigError(
        f"The labeling config writes the tag <{printable(written)}>: Label Studio's page shows it, and its server takes"
        " no predictions for it.",
        f"Write <{proper}>, and its inner tags with a capital too. {EXAMPLE}",
    )


def _refuse_duplicates(names: Iterable[str]) -> None:
    double = sorted(name for name, count in Counter(names).items() if count > 1)
    if double:
        raise LabelingConfigError(
            f"The labeling config uses the name {double[0]!r} more than once.",
            "Give every tag a name of its own.",
        )
