"""Words that stand for a project's findings: what is taken, and what is suggested."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.backbones.text_tower import require_text_tower
from clinical_backend.text import joined, printable
from clinical_backend.workspace.controls import classes_of
from clinical_backend.workspace.project_options import named_classes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = [
    "LONGEST_TEXT",
    "MOST_TEXTS",
    "checked_texts",
    "idle_because",
    "keep_phrasings",
    "remove_phrasings",
    "suggested",
    "words_problem",
]

MOST_TEXTS = 20
"""Phrasings of a finding, and contrasts to it: CLIP's own ensembles gained little beyond some ten (Radford et al., ICML
2021, section 3.1.4, with 80 for all of ImageNet)."""
LONGEST_TEXT = 200
"""Characters: text towers read 64 to 77 tokens, which are about as many characters times three."""
_MOST_OTHERS = 5
"""Other classes that a suggested contrast names; more are seldom read to the end."""

_CHANGED = "words for a finding were changed"
"""Why a round is due, for people."""


def words_problem(project: ProjectWorkspace) -> str:
    """Say why a project cannot be asked by words, and what to set; nothing where it can."""
    try:
        _require_text_tower(project)
    except ModelError as error:
        return str(error)
    return ""


def idle_because(project: ProjectWorkspace, finding: str) -> str:
    """Say why words for a finding steer nothing, and what to do; nothing where they do."""
    row, classes = project.row, classes_of(project)
    named = [name for name in named_classes(project.workspace.settings, row) if name in classes] if row else []
    if named and finding not in named:
        return f"They wait: {joined(named)} {'is' if len(named) == 1 else 'are'} looked for by name. Choose it, too."
    if row and finding in row.declined:
        return "They wait: it was said not to be looked for. Choose it, or undo that in the project's settings."
    return ""


def suggested(finding: str, classes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return phrasings of a finding, and contrasts to it: the other classes of the project, and what is normal."""
    others = [name for name in classes if name != finding][:_MOST_OTHERS]
    phrasings = (finding, f"a medical image of {finding}", f"an image that shows {finding}")
    return phrasings, (*(f"a medical image of {name}" for name in others), "a normal medical image")


def keep_phrasings(
    project: ProjectWorkspace,
    finding: str,
    classes: Sequence[str],
    phrasings: Iterable[str],
    contrasts: Iterable[str],
    *,
    by: str,
) -> None:
    """Keep words for a finding in place of those before, and make a round due, which places them among the images.

    Parameters
    ----------
    classes
        Of the project.
    by
        Who gives them.

    Raises
    ------
    InvalidArgumentError
        When the project has no such class, there is no phrasing, there are too many or too long ones, or a contrast is
        a phrasing.
    ModelError
        When the backbone cannot be asked by words.
    """
    if finding not in classes:
        choice = f"Choose one of {', '.join(classes)}." if classes else "Connect the project first."
        raise InvalidArgumentError("finding", f"the project has no class {printable(finding, 80)!r}.", choice)
    _require_text_tower(project)
    wanted, against = checked_texts(phrasings, contrasts)
    project.stores.phrasings.keep(project.id, finding, wanted, against, by=by)
    project.stores.projects.request_round(project.id, _CHANGED, delay=0.0)


def checked_texts(phrasings: Iterable[str], contrasts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return phrasings and contrasts as a text tower is given them.

    Raises
    ------
    InvalidArgumentError
        When there is no phrasing, there are too many or too long ones, or a contrast is a phrasing.
    """
    wanted, against = _texts("phrasings", phrasings), _texts("contrasts", contrasts)
    if not wanted:
        raise InvalidArgumentError("phrasings", "there is none.", "Write what is looked for, one phrasing a line.")
    folded = {text.casefold() for text in wanted}  # text towers hardly tell, and CLIP's does not read, capitals
    if both := [text for text in against if text.casefold() in folded]:
        raise InvalidArgumentError(
            "contrasts", f"{both[0]!r} is looked for as well, and cannot be told from itself.", "Leave it out of one."
        )
    return wanted, against


def remove_phrasings(project: ProjectWorkspace, finding: str) -> bool:
    """Delete the words of a finding, and make a round due; tell whether there were any."""
    there = project.stores.phrasings.remove(project.id, finding)
    if there:
        project.stores.projects.request_round(project.id, _CHANGED, delay=0.0)
    return there


def _require_text_tower(project: ProjectWorkspace) -> None:
    """Make sure that the backbone of a project, or the one that is to take its place, can be asked by words.

    Raises
    ------
    ModelError
        When neither can.
    """
    with suppress(ModelError):
        require_text_tower(project.workspace.spec)
        return
    require_text_tower(project.workspace.configured.spec)


def _texts(argument: str, given: Iterable[str]) -> list[str]:
    """Return texts without what no screen shows, empty ones and doubles: escaped, a text tower would read nonsense.

    Raises
    ------
    InvalidArgumentError
        When there are too many, or one is too long.
    """
    shown = ("".join(sign if sign.isprintable() else " " for sign in one).split() for one in given)
    texts = list(dict.fromkeys(" ".join(words) for words in shown if words))
    if len(texts) > MOST_TEXTS:
        raise InvalidArgumentError(argument, f"there are {len(texts)}.", f"Give at most {MOST_TEXTS}.")
    if any(len(text) > LONGEST_TEXT for text in texts):
        raise InvalidArgumentError(
            argument, f"one has more than {LONGEST_TEXT} characters.", "Shorten it: a text tower reads a sentence."
        )
    return texts
