"""What a round learns from: the features of its tasks, frozen or joined with the adapted network's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.rounds.study_inputs import choose_study_inputs, inputs_as_published
from clinical_backend.strategy.representation import choose_representation
from clinical_backend.strategy.tasks import Inputs
from clinical_backend.workspace.features import Representation
from clinical_backend.workspace.outside_features import outside_in
from clinical_backend.workspace.study_features import PooledStudies, WitnessedStudies
from clinical_backend.workspace.word_scores import words_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.workspace.workspace import ProjectWorkspace, Represented

__all__ = ["choose_inputs", "inputs_of_published"]


def choose_inputs(project: ProjectWorkspace, snapshot: Snapshot) -> tuple[Inputs, str]:
    """Return the features to work with, and why: as the labels at hand tell where there is a choice."""
    known = project.representations()
    if together := [one for one in known if isinstance(one, PooledStudies)]:
        return choose_study_inputs(project, snapshot, *_pooled_inputs(project, snapshot, together))
    frozen, *adapted = (one for one in known if isinstance(one, Representation))
    if not adapted:
        return inputs_of(project, snapshot, frozen), "frozen"
    joined = inputs_of(project, snapshot, adapted[0])
    if _has_more(project, snapshot, frozen, joined):
        del joined  # one set of features is held at a time: of a million tasks both are 5.4 GB
        return inputs_of(project, snapshot, frozen), "frozen: some images have no adapted feature yet"
    alone = joined.first_part()  # what is judged does not depend on lengths
    chosen, reason = choose_representation(alone, joined, seed=project.workspace.settings.seed)
    if chosen is not alone:
        return chosen, reason
    del joined, alone, chosen
    return inputs_of(project, snapshot, frozen), reason


def _pooled_inputs(
    project: ProjectWorkspace, snapshot: Snapshot, together: Sequence[PooledStudies]
) -> tuple[Inputs, list[Representation]]:
    """Return what is made of all images of each task, of joined features where all images have them, and these."""
    frozen, best = together[0], together[-1]
    inputs = inputs_of(project, snapshot, best)
    if best is not frozen and _has_more(project, snapshot, frozen, inputs):
        return inputs_of(project, snapshot, frozen), [frozen.images]
    return inputs, [one.images for one in together]


def _has_more(
    project: ProjectWorkspace, snapshot: Snapshot, frozen: Representation | PooledStudies, joined: Inputs
) -> bool:
    """Tell whether a task has frozen features and no joined ones: its adapted ones are lost, or not made yet."""
    asked = {*snapshot.pool, *snapshot.labels.seen, *snapshot.target.query}
    there = (joined.pool.tasks, joined.labelled.tasks, joined.query.tasks)
    lacking = asked.difference(*(tasks.tolist() for tasks in there))
    return bool(lacking) and len(project.features_of(frozen, lacking)) > 0


def inputs_of_published(
    project: ProjectWorkspace, snapshot: Snapshot, representation: Represented, own: Inputs
) -> Inputs:
    """Return the features that a published model takes; ``own`` are those that the round learns from."""
    if isinstance(representation, WitnessedStudies):
        return inputs_as_published(project, snapshot, representation, own)
    return inputs_of(project, snapshot, representation)


def inputs_of(project: ProjectWorkspace, snapshot: Snapshot, representation: Representation | PooledStudies) -> Inputs:
    """Return the features of one representation."""
    pool, labelled, query, counter_exemplars = (
        project.features_of(representation, tasks)
        for tasks in (
            snapshot.pool,
            snapshot.labels.seen,
            snapshot.target.query,
            snapshot.target.counter_exemplars,
        )
    )
    outside = outside_in(project, representation, snapshot.target.outside)
    words = words_in(project, representation, pool, query, snapshot.target.words)
    return Inputs(
        representation.key, pool, labelled, query, counter_exemplars, snapshot.groups, outside=outside, words=words
    )
