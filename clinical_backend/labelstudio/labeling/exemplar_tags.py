"""The choices of the control that tags exemplars: which steer, to or away, and which name a class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["stands_for_of", "steering_of"]

_NEGATIVE = re.compile(r"(not|no|less|unlike|counter)\b", re.IGNORECASE)


def steering_of(values: Sequence[str], naming: Collection[str]) -> tuple[str | None, str | None]:
    """Return which choices that name no class tag an exemplar and a counter-exemplar; ``None`` for none."""
    less = next((value for value in values if _NEGATIVE.match(value) and value not in naming), None)
    plain = [value for value in values if value != less and value not in naming]
    if less is None and len(plain) > 1:
        less = plain[1]
    return plain[0] if plain else None, less


def stands_for_of(values: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Return which tags name a class: as such, or at their end, as in "more like this: nodule"."""
    found = {}
    for value in values:
        text = " ".join(value.split()).casefold()
        named = [name for name in classes if _ends_with(text, " ".join(name.split()).casefold())]
        if named and not _NEGATIVE.match(value):
            found[value] = max(named, key=len)
    return found


def _ends_with(text: str, name: str) -> bool:
    return text == name or (text.endswith(name) and not text[-len(name) - 1].isalnum())
