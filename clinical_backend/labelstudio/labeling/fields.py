"""Fields of a task's data, found as Label Studio's page finds them: by name, by dots and by indices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ImageValue", "filled", "lookup", "top_field"]

_VARIABLE = re.compile(r"\$([\w\[\].{}]+)", re.ASCII)
"""``parseValue`` of the page (``editor/src/utils/data.js`` in Label Studio 1.23)."""

_STEP = re.compile(r"[^.\[\]]+")
_NAMED_FIELDS = 5  # by eye: they fit on the line of the message


def lookup(data: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - a task's data holds anything
    """Return what a path names in a task's data; ``None`` where there is nothing.

    Parameters
    ----------
    data
        Of a task.
    path
        Such as ``image``, ``case.image`` or ``images[0].url``. A field that is called so as a whole comes first.
    """
    if path in data:
        return data[path]
    found: Any = data
    for step in _STEP.findall(path):
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isascii() and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return None if found is data else found


def top_field(path: str) -> str:
    """Return the field of a task's data that a path begins with, such as ``case`` of ``case.images[0]``."""
    return _STEP.findall(path)[0] if _STEP.search(path) else path


def filled(path: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - a task's data holds anything
    """Return data in which :func:`lookup` finds a value by a path of names."""
    first, *rest = [step for step in path.split(".") if step]
    for name in reversed(rest):
        value = {name: value}
    return {first: value}


@dataclass(frozen=True, slots=True)
class ImageValue:
    """The ``value`` of an ``Image``: a field, as in ``$case.image``, or text around fields, as in ``https://host/$id``.

    Attributes
    ----------
    text
        As the labeling config writes it, without spaces around it.
    """

    text: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it takes from a task's data."""
        return tuple(_VARIABLE.findall(self.text))

    @property
    def is_field(self) -> bool:
        """Whether it is one field and nothing around it."""
        return _VARIABLE.fullmatch(self.text) is not None

    def address(self, data: Mapping[str, Any]) -> str:
        """Return the image's address in a task's data; empty where it has none, or several."""
        if self.is_field:
            found = lookup(data, self.fields[0])
            found = found[0] if isinstance(found, list) and len(found) == 1 else found
            return found.strip() if isinstance(found, str) else ""
        values = {name: lookup(data, name) for name in self.fields}
        if not all(isinstance(value, str | int | float) and value != "" for value in values.values()):
            return ""
        return _VARIABLE.sub(lambda match: str(values[match.group(1)]), self.text)

    def problem(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """Return why a task's data has no address of an image, and what to do; the values are not named."""
        missing = [name for name in self.fields if lookup(data, name) in (None, "")]
        for name in self.fields:
            found = lookup(data, name)
            if isinstance(found, list) and len(found) != 1:
                cure = 'Import whole addresses in the list, and show them with valueList="$images".'
                return f"The field {name!r} holds a list of {len(found)}, with text around it.", cure
        named = " and ".join(map(repr, missing or self.fields))
        there = ", ".join(map(repr, sorted(map(str, data))[:_NAMED_FIELDS])) or "none"
        cure = (
            f"Import tasks with it, or correct the Image tag in the labeling config; the task has the fields {there}."
        )
        longer = next(
            (key for key in data for name in missing if f"${key}".startswith(f"${name}") and key != name), None
        )
        if longer is not None:
            cure += (
                f" Label Studio ends a field's name before any sign but letters a to z, digits and _ . [ ]:"
                f" rename the field {longer!r}."
            )
        return f"There is no text in the field {named}.", cure
