"""The cases that are most like words, by a backbone with an image and a text tower."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from clinical_backend.service.phrasings import checked_texts
from clinical_backend.service.similar import Similar, best_of, compared_tasks
from clinical_backend.strategy.words import EmbeddedWords
from clinical_backend.workspace.word_scores import embed_words, scores_of_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["find_by_words"]


def find_by_words(project: ProjectWorkspace, phrasings: Iterable[str], contrasts: Iterable[str], limit: int) -> Similar:
    """Return the cases of a project that are most like words, labelled or not; the test set is left out.

    The score is that of :class:`~clinical_backend.strategy.words.EmbeddedWords`. Nothing is kept, and no queue is
    changed.

    Parameters
    ----------
    phrasings
        What is looked for; their mean is.
    contrasts
        What it is told from, if anything.
    limit
        How many are wanted.

    Raises
    ------
    InvalidArgumentError
        When the words are refused (:func:`~clinical_backend.service.phrasings.checked_texts`).
    ModelError
        When the backbone that serves the project cannot be asked by words.
    ClinicalError
        When the features cannot be read.
    """
    wanted, against = checked_texts(phrasings, contrasts)
    tasks = compared_tasks(project)
    if not tasks:  # without a look at the network, which takes long to load
        return Similar((), 0, 0, has_feature=True)
    rows = _embedded(project.workspace, (*wanted, *against))
    words = EmbeddedWords("", tuple(wanted), rows[: len(wanted)], rows[len(wanted) :])
    representation = project.representations()[0]
    return best_of(project, representation, tasks, limit, partial(scores_of_words, project, representation, words))


@lru_cache(maxsize=16)  # who was told to try again, as a text tower takes long to load, finds it done
def _embedded(workspace: Workspace, texts: tuple[str, ...]) -> NDArray[np.float32]:
    return embed_words(workspace, texts)
