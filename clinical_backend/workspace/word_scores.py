"""Words that stand for a project's findings: placed among its images once, and what they tell of its tasks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.joint_space import joint_space_of
from clinical_backend.learner.backbones.loading import tokenizer_folder
from clinical_backend.learner.backbones.text_tower import embed_texts, require_text_tower
from clinical_backend.strategy.instances import Instances
from clinical_backend.strategy.words import EmbeddedWords, WordScores
from clinical_backend.workspace.features import Representation
from clinical_backend.workspace.study_features import images_of, read_instances

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.joint_space import JointSpace
    from clinical_backend.strategy.tasks import FeaturedTasks
    from clinical_backend.workspace.workspace import ProjectWorkspace, Represented, Workspace

__all__ = ["embed_words", "place_words", "scores_of_words", "worded_findings", "words_in"]

logger = logging.getLogger(__name__)

_BLOCK = 16_384
"""Images that are placed at once: 50 MB in 768 dimensions."""


def worded_findings(project: ProjectWorkspace) -> tuple[str, ...]:
    """Return the findings whose words are placed among the images of the project's backbone."""
    placed = project.stores.phrasings.placed(project.id, project.workspace.backbone.key)
    return tuple(one.finding for one, _ in placed)


def place_words(project: ProjectWorkspace) -> list[str]:
    """Place a project's words that are not placed yet among the images of its backbone; say what could not be.

    A round goes on without them: readers need its queue.
    """
    key = project.workspace.backbone.key
    placed = worded_findings(project)
    waiting = [one for one in project.stores.phrasings.all(project.id) if one.finding not in placed]
    if not waiting:
        return []
    try:
        rows = embed_words(project.workspace, [text for one in waiting for text in one.texts])
    except ModelError as error:
        logger.warning("Project %d: its words are not used: %s", project.id, error)
        return [f"The words for {' and '.join(one.finding for one in waiting)} are not used. {error}"]
    start = 0
    for one in waiting:
        project.stores.phrasings.keep_places(project.id, one, key, rows[start : start + len(one.texts)])
        start += len(one.texts)
    return []


def embed_words(workspace: Workspace, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return texts among the images of a backbone, each of unit length: shape (n, p), float32.

    Raises
    ------
    ModelError
        When it cannot be asked by words.
    """
    spec = workspace.spec
    require_text_tower(spec)
    tokenizer = tokenizer_folder(workspace.settings.backbone, spec)
    rows = embed_texts(spec, texts, tokenizer=tokenizer)
    joint_space_of(spec).require(rows, workspace.backbone.dimension)
    return rows


def scores_of_words(
    project: ProjectWorkspace, representation: Represented, words: EmbeddedWords, tasks: FeaturedTasks
) -> NDArray[np.float32]:
    """Return the log-odds of words for each task, by its likest image: shape (n,); NaN where none was read.

    Parameters
    ----------
    representation
        Of these tasks, as for :func:`words_in`.
    """
    space = joint_space_of(project.workspace.spec)
    scores: NDArray[np.float32] = _scores(space, [words], tasks.tasks, _instances(project, representation, tasks))[0][0]
    return scores


def words_in(
    project: ProjectWorkspace,
    representation: Represented,
    pool: FeaturedTasks,
    query: FeaturedTasks,
    findings: Sequence[str],
) -> WordScores | None:
    """Return what the words of findings tell of a pool and of the query set; ``None`` where no finding has any.

    Parameters
    ----------
    representation
        Of these tasks: frozen features, alone or the first part of joined ones, are where images lie; of a task with
        several images, those of each.
    """
    if not findings:
        return None
    embedded = [
        EmbeddedWords(one.finding, one.phrasings, places[: len(one.phrasings)], places[len(one.phrasings) :])
        for one, places in project.stores.phrasings.placed(project.id, project.workspace.backbone.key)
        if one.finding in findings
    ]
    if not embedded:
        return None
    space = joint_space_of(project.workspace.spec)
    log_odds, nearest = _scores(space, embedded, pool.tasks, _instances(project, representation, pool))
    cases, _ = _scores(space, embedded, query.tasks, _instances(project, representation, query))
    known = np.nan_to_num(log_odds, nan=float(np.nanmean(log_odds)) if np.isfinite(log_odds).any() else 0.0)
    names, texts = tuple(one.finding for one in embedded), tuple(one.texts for one in embedded)
    return WordScores(names, texts, known, nearest, cases)


def _scores(
    space: JointSpace, words: Sequence[EmbeddedWords], tasks: NDArray[np.int64], images: Iterator[Instances]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return log-odds and nearest phrasing of each finding for each task, by its likest image; NaN without any."""
    log_odds = np.full((len(words), len(tasks)), np.nan, dtype=np.float32)
    nearest = np.zeros((len(words), len(tasks)), dtype=np.int64)
    columns = {task: column for column, task in enumerate(tasks.tolist())}
    for part in images:
        if not len(part):
            continue
        placed = space.place(part.rows)
        at = [columns[task] for task in part.tasks.tolist()]
        for row, one in enumerate(words):
            scores = one.scores(space, placed)
            best = part.largest(scores)
            log_odds[row, at] = scores[best]
            nearest[row, at] = one.nearest(placed[best])
    return log_odds, nearest


def _instances(project: ProjectWorkspace, representation: Represented, tasks: FeaturedTasks) -> Iterator[Instances]:
    """Yield the frozen features of the tasks' images, block by block."""
    if not isinstance(representation, Representation):
        images = images_of(project.stores, project.id, tasks.tasks.tolist())
        yield from read_instances(project.frozen, images)
        return
    width = project.workspace.backbone.dimension
    for start in range(0, len(tasks), _BLOCK):
        ids = tasks.tasks[start : start + _BLOCK]
        alone = np.arange(len(ids), dtype=np.int64)
        yield Instances(ids, tasks.features[start : start + _BLOCK, :width], alone, np.zeros_like(alone))
