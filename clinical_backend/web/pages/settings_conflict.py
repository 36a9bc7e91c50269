"""Two people who change a project's settings at the same time: neither's entries are lost, and each is told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical_backend.storage.trail import TrailAction
from clinical_backend.text import read_json
from clinical_backend.web.pages.settings_form import as_entered, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical_backend.storage.stores.trail import TrailStore

__all__ = ["Meanwhile", "changed_meanwhile", "merged"]

_LOOKED_AT = 200
"""Latest changes in which those since a form was shown are looked for: a form lies open for half a day."""


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """A setting that somebody else changed.

    Attributes
    ----------
    label
        What it is called.
    old, new
        Its value when the form was shown, and as it is now, in words.
    mine
        What was entered instead, in words; empty where nothing else was.
    who, at
        By whom and when, in seconds since the epoch; empty and 0 where the trail does not tell.
    """

    label: str
    old: str
    new: str
    mine: str
    who: str
    at: float


def merged(seen: str, now: str, entered: Mapping[str, str]) -> dict[str, str]:
    """Return what is set now, with what was entered over it where that differs from what was shown.

    Parameters
    ----------
    seen, now
        What the page set when the form was shown and sets by now, as :func:`page_state` has it.
    entered
        What was entered, by field of the form.
    """
    before, after = _entered(seen), _entered(now)
    return {name: after.get(name, "") if text == before.get(name, "") else text for name, text in entered.items()}


def changed_meanwhile(
    trail: TrailStore, project_id: int, seen: str, now: str, entered: Mapping[str, str]
) -> tuple[Meanwhile, ...]:
    """Return which settings somebody else changed since a form was shown, and what was entered in their place.

    Parameters
    ----------
    entered
        As :func:`merged` returns it.
    """
    before, after = _settings(seen), _settings(now)
    texts = _entered(now)
    changes = trail.some(project_id, 0, _LOOKED_AT, action=TrailAction.SETTING_CHANGED)
    found = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name):
            continue
        told = next((one for one in changes if one.details.get("setting") == name), None)
        label, old = in_words(name, before.get(name))
        _, new = in_words(name, after.get(name))
        is_mine = name in entered and entered[name] != texts.get(name, "")
        mine = (entered[name].replace("\n", ", ") or "nothing") if is_mine else ""
        found.append(
            Meanwhile(label, old, new, mine, "" if told is None else told.who, 0.0 if told is None else told.at)
        )
    return tuple(found)


def _settings(state: str) -> dict[str, Any]:
    """Return the settings of a page's state; none of one that was tampered with."""
    with suppress(ValueError, TypeError, LookupError, RecursionError):
        told = read_json(state)
        return {**told["page"], "declined": list(told["declined"])}
    return {}


def _entered(state: str) -> dict[str, str]:
    """Return how a page's state stands in its form."""
    settings = _settings(state)
    declined = settings.pop("declined", [])
    return as_entered(settings) | {"declined": "\n".join(map(str, declined))}
