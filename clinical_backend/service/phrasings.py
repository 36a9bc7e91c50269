"""Words that stand for a project's findings: what is taken, and what is suggested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.backbones.text_tower import require_text_tower
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["LONGEST_TEXT", "MOST_TEXTS", "keep_phrasings", "remove_phrasings", "suggested", "words_problem"]

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
    problem = ""
    for workspace in (project.workspace, project.workspace.configured):
        try:
            require_text_tower(workspace.spec)
        except ModelError as error:
            problem = str(error)
        else:
            return ""
    return problem


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
        When the project has no such class, there is no phrasing, or there are too many or too long ones.
    ModelError
        When the backbone cannot be asked by words.
    """
    if finding not in classes:
        choice = f"Choose one of {', '.join(classes)}." if classes else "Connect the project first."
        raise InvalidArgumentError("finding", f"the project has no class {printable(finding, 80)!r}.", choice)
    if words_problem(project):
        require_text_tower(project.workspace.configured.spec)
    wanted, against = _texts("phrasings", phrasings), _texts("contrasts", contrasts)
    if not wanted:
        raise InvalidArgumentError("phrasings", "there is none.", "Write what is looked for, one phrasing a line.")
    project.stores.phrasings.keep(project.id, finding, wanted, against, by=by)
    project.stores.projects.request_round(project.id, _CHANGED, delay=0.0)


def remove_phrasings(project: ProjectWorkspace, finding: str) -> bool:
    """Delete the words of a finding, and make a round due; tell whether there were any."""
    there = project.stores.phrasings.remove(project.id, finding)
    if there:
        project.stores.projects.request_round(project.id, _CHANGED, delay=0.0)
    return there


def _texts(argument: str, given: Iterable[str]) -> list[str]:
    """Return texts without empty ones and doubles.

    Raises
    ------
    InvalidArgumentError
        When there are too many, or one is too long.
    """
    texts = list(dict.fromkeys(text for one in given if (text := " ".join(one.split()))))
    if len(texts) > MOST_TEXTS:
        raise InvalidArgumentError(argument, f"there are {len(texts)}.", f"Give at most {MOST_TEXTS}.")
    if any(len(text) > LONGEST_TEXT for text in texts):
        raise InvalidArgumentError(
            argument, f"one has more than {LONGEST_TEXT} characters.", "Shorten it: a text tower reads a sentence."
        )
    return [printable(text, LONGEST_TEXT) for text in texts]
