"""What a round learns from: the features of its tasks, frozen or joined with the adapted network's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.rounds.study_inputs import choose_study_inputs, inputs_of_images
from clinical_backend.strategy.representation import choose_representation
from clinical_backend.strategy.tasks import Inputs
from clinical_backend.workspace.outside_features import outside_in
from clinical_backend.workspace.study_features import PooledStudies, WitnessedStudies
from clinical_backend.workspace.word_scores import words_in

if TYPE_CHECKING:
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.workspace.workspace import ProjectWorkspace, Represented

__all__ = ["choose_inputs", "inputs_of"]


def choose_inputs(project: ProjectWorkspace, snapshot: Snapshot) -> tuple[Inputs, str]:
    """Return the features to work with, and why: as the labels at hand tell where there is a choice."""
    first = project.representations()[0]
    if isinstance(first, PooledStudies):
        return choose_study_inputs(project, snapshot, inputs_of(project, snapshot, first))
    every = [inputs_of(project, snapshot, one) for one in project.representations()]
    frozen = every[0]
    if len(every) == 1:
        return frozen, "frozen"
    joined = every[1]
    if (
        len(frozen.pool) != len(joined.pool)
        or len(frozen.labelled) != len(joined.labelled)
        or len(frozen.query) != len(joined.query)
    ):
        return frozen, "frozen: some images have no adapted feature yet"
    return choose_representation(frozen, joined, seed=project.workspace.settings.seed)


def inputs_of(project: ProjectWorkspace, snapshot: Snapshot, representation: Represented) -> Inputs:
    """Return the features of one representation."""
    if isinstance(representation, WitnessedStudies):
        return inputs_of_images(project, snapshot, representation)
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
