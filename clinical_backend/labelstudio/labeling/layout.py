"""Where a labeling config shows what: the choices beside the image, so that no reader has to scroll for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from clinical_backend.errors import LabelingConfigError
from clinical_backend.labelstudio.labeling.scheme import LESS_LIKE_THIS, MORE_LIKE_THIS, read_scheme
from clinical_backend.labelstudio.labeling.tags import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EXEMPLAR_HEADER", "with_exemplar_control"]

EXEMPLAR_HEADER = "Find more of these?"
"""What stands over the exemplar control."""

_ROW = '<View style="display: flex; gap: 1.5rem">'
_IMAGE_SIDE = '<View style="flex: 1; min-width: 0">'
_CHOICES_SIDE = '<View style="flex: 0 0 16rem; position: sticky; top: 0; align-self: flex-start">'
"""16rem hold a name of 30 letters, and leave the image 600 of 1,280 pixels beside Label Studio's own panel. A reader
who scrolls down a tall image keeps the choices in view."""


@dataclass(slots=True)
class _Element:
    """An element and its place in the text, in bytes.

    Attributes
    ----------
    tag, name
        Of which kind it is, and the attribute ``name``.
    plain
        Whether it has no attributes.
    depth
        0 for the root.
    start, after_start, end
        Where it begins, where its opening tag ends, and where it ends.
    closing
        Where its closing tag begins; where it begins for one without.
    """

    tag: str
    name: str | None
    plain: bool
    depth: int
    start: int
    after_start: int = 0
    closing: int = 0
    end: int = 0


def _elements(content: bytes) -> list[_Element]:
    """Return all elements of a text that can be parsed, in the order of their opening tags."""
    parser = expat.ParserCreate("utf-8")
    shift = len(content) - len(content.lstrip())
    found: list[_Element] = []
    open_: list[_Element] = []
    awaited: list[tuple[_Element, str]] = []

    def note() -> None:
        """Note where the last tag ended: where whatever follows it begins."""
        while awaited:
            element, place = awaited.pop()
            setattr(element, place, parser.CurrentByteIndex + shift)

    def start(tag: str, attributes: dict[str, str]) -> None:
        note()
        element = _Element(tag, attributes.get("name"), not attributes, len(open_), parser.CurrentByteIndex + shift)
        found.append(element)
        open_.append(element)
        awaited.append((element, "after_start"))

    def end(_tag: str) -> None:
        note()
        element = open_.pop()
        element.closing = parser.CurrentByteIndex + shift
        awaited.append((element, "end"))

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.DefaultHandler = lambda _data: note()
    parser.Parse(content[shift:], True)
    note()
    return found


def with_exemplar_control(
    label_config: str, exemplar_control: str = "exemplar", class_control: str | None = None
) -> str:
    """Return a labeling config with a control for tagging exemplars added behind that of the classes.

    Where one image stands above its controls, and nothing else was laid out, the controls move beside it: on a screen
    of 720 lines they would stand below its lower edge. All names, and all that is written within the elements, stay.

    Raises
    ------
    LabelingConfigError
        When the config is not one that :func:`read_scheme` accepts, or gives no place for the control.
    """
    scheme = read_scheme(label_config, exemplar_control, class_control)
    if scheme.exemplar_control is not None:
        return label_config
    content = label_config.encode()
    elements = _elements(content)
    last = max(one.end for one in elements if one.name in scheme.learnt_controls)
    added = _control(exemplar_control, scheme.image_name).encode()
    image = _image_alone(elements)
    if image is None:
        extended = content[:last] + b"\n" + added + content[last:]
    else:
        root = elements[0]
        above, below = content[root.after_start : image.end], content[image.end : last] + b"\n" + added
        rest = content[last : root.closing].rstrip()
        inside = (_IMAGE_SIDE.encode(), above, b"\n</View>\n", _CHOICES_SIDE.encode(), below, rest, b"\n</View>\n")
        extended = content[: root.start] + b"".join((_ROW.encode(), b"\n", *inside)) + content[root.closing :]
    text = extended.decode()
    if read_scheme(text, exemplar_control, class_control).exemplar_control is None:
        raise LabelingConfigError("The exemplar control cannot be added to this labeling config.", EXAMPLE)
    return text


def _control(name: str, image_name: str) -> str:
    """Return the control with its header. The keys are the initials: Label Studio gives classes digits first."""
    return (
        f'  <Header value={quoteattr(EXEMPLAR_HEADER)} size="5"/>\n'
        f'  <Choices name={quoteattr(name)} toName={quoteattr(image_name)} choice="multiple" required="false">\n'
        f'    <Choice value="{MORE_LIKE_THIS}" hotkey="m"/>\n    <Choice value="{LESS_LIKE_THIS}" hotkey="n"/>\n'
        "  </Choices>"
    )


def _image_alone(elements: Sequence[_Element]) -> _Element | None:
    """Return the image of a config that lays nothing out: a bare root, one image first, and controls after it."""
    root, *others = elements
    shown = [one for one in others if one.depth == 1]
    bare = root.tag == "View" and root.plain and not any(one.tag in {"View", "Style"} for one in others)
    images = [one for one in others if one.tag == "Image"]
    return images[0] if bare and len(images) == 1 and shown[0] is images[0] else None
