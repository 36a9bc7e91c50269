"""The images of a task, in order: those of a list, of several ``Image`` tags, or of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import LabelingConfigError
from clinical_backend.labelstudio.labeling.fields import ImageValue, filled, lookup
from clinical_backend.labelstudio.labeling.tags import attributes_of
from clinical_backend.study import StudyImage, as_given, evenly_spaced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

__all__ = ["View", "images_of", "problem_of", "read_views"]

_NO_ADDRESS = "\0"  # which no text of a task holds


@dataclass(frozen=True, slots=True)
class View:
    """An ``Image`` tag.

    Attributes
    ----------
    name
        Of the tag.
    value
        Where its addresses stand in a task's data.
    is_list
        Whether it shows a list of images, as ``valueList`` says.
    """

    name: str
    value: ImageValue
    is_list: bool = False

    def addresses(self, data: Mapping[str, Any]) -> list[str | None]:
        """Return the addresses in a task's data, in order, without spaces around them.

        What is empty in a list keeps its place, as on Label Studio's page, as ``None``. What is no text is an empty
        address, which cannot be read.
        """
        found = self._list(data)
        if found is None:
            address = self.value.address(data)
            return [address] if address else []
        return [(one.strip() or None) if isinstance(one, str) else None if one is None else "" for one in found]

    def problem(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """Return why a task's data has no address of an image here, and what to do; the values are not named."""
        found = self._list(data)
        if found is None:
            return self.value.problem(data)
        (name,) = self.value.fields
        if not found:
            return f"The list in the field {name!r} is empty.", "Import the task with the addresses of its images."
        return (
            f"The list in the field {name!r} holds {len(found)} items, none of which is an address.",
            "Import the addresses themselves, as a list of texts on one level.",
        )

    def showing(self, addresses: Sequence[str]) -> dict[str, Any]:
        """Return data of a task in which this tag finds addresses: all of a list, or the one that there is.

        Raises
        ------
        LabelingConfigError
            When its value is not one field.
        """
        path = self.value.fields[0]
        if not self.value.is_field or "[" in path:
            raise LabelingConfigError(
                f"The Image takes its address from {self.value.text!r}, into which no import can write.",
                'Use value="$image", or valueList="$images" for a list.',
            )
        return filled(path, list(addresses) if self.is_list else addresses[0])

    def _list(self, data: Mapping[str, Any]) -> list[Any] | None:
        found = lookup(data, self.value.fields[0]) if self.value.is_field else None
        return found if isinstance(found, list) else None


def read_views(images: Mapping[str, Element], needed: str) -> tuple[View, ...]:
    """Return what the ``Image`` tags of a labeling config show, in its order.

    Another one than the needed that takes nothing from the task, such as a legend, is none of the task's images.

    Parameters
    ----------
    images
        The tags by name.
    needed
        Name of the one that the class control is about.

    Raises
    ------
    LabelingConfigError
        When that one does not take its addresses from a field of the task.
    """
    views = []
    for name, image in images.items():
        try:
            views.append(_view(name, image))
        except LabelingConfigError:
            if name == needed:
                raise
    return tuple(views)


def _view(name: str, image: Element) -> View:
    flags = attributes_of(image)
    value_list = flags.get("valuelist", "").strip()
    value = ImageValue(value_list or flags.get("value", "").strip())
    if not value.fields:
        raise LabelingConfigError(
            "The Image does not take its address from a field of the task.",
            'Use value="$image", or valueList="$images" for a list.',
        )
    if "{" in value.text or "}" in value.text:
        raise LabelingConfigError(
            f"The Image takes its address from {value.text!r}, as inside a Repeater.",
            'Show one image with value="$image", or a list with valueList="$images".',
        )
    if value_list and not value.is_field:
        raise LabelingConfigError(
            f"The Image takes a list of images from {value.text!r}, which is more than one field.",
            'Name the field alone, as in valueList="$images".',
        )
    return View(name, value, bool(value_list))


def images_of(views: Sequence[View], data: Mapping[str, Any], limit: int) -> tuple[StudyImage, ...]:
    """Return the images that a task shows, in the order of the labeling config, at most ``limit`` of them.

    Of more, evenly spaced ones are taken, the first and the last among them.
    """
    named = len(views) > 1
    every = [(view.name if named else "", address) for view in views for address in view.addresses(data)]
    if not any(address for _, address in every):
        return ()
    first: dict[str, int] = {}
    for place, (_, address) in enumerate(every):
        if address is not None:
            first.setdefault(address or f"{_NO_ADDRESS}{place}", place)  # what is shown twice is one image
    places = list(first.values())
    chosen = [places[at] for at in evenly_spaced(len(places), limit)]
    return tuple(StudyImage(place, len(every), every[place][0], as_given(every[place][1] or "")) for place in chosen)


def problem_of(views: Sequence[View], data: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a task's data has no address of an image at all, and what to do."""
    problem, cure = views[0].problem(data)
    if len(views) > 1:
        return f"None of its {len(views)} images has an address. {problem}", cure
    return problem, cure
