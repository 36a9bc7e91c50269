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
    every = [inputs_of(project, snapshot, one) for one in known if isinstance(one, Representation)]
    frozen = every[0]
    if len(every) == 1:
        return frozen, "frozen"
    joined = every[1]
    if not _are_of_the_same(frozen, joined):
        return frozen, "frozen: some images have no adapted feature yet"
    return choose_representation(frozen, joined, seed=project.workspace.settings.seed)


def _pooled_inputs(
    project: ProjectWorkspace, snapshot: Snapshot, together: Sequence[PooledStudies]
) -> tuple[Inputs, list[Representation]]:
    """Return what is made of all images of each task, of joined features where all images have them, and these."""
    frozen, best = together[0], together[-1]
    inputs = inputs_of(project, snapshot, best)
    read = project.digests({*snapshot.pool, *snapshot.labels.seen})
    if best is not frozen and len(inputs.pool) + len(inputs.labelled) < len(read):  # lost ones, or not adapted ones yet
        alone = inputs_of(project, snapshot, frozen)
        if not _are_of_the_same(alone, inputs):
            return alone, [frozen.images]
    return inputs, [one.images for one in together]


def _are_of_the_same(frozen: Inputs, joined: Inputs) -> bool:
    return (len(frozen.pool), len(frozen.labelled), len(frozen.query)) == (
        len(joined.pool),
        len(joined.labelled),
        len(joined.query),
    )


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
