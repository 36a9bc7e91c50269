"""What single images of tasks show, where readers answer image by image: learnt one class or finding at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.one_vs_rest import (
    calibrated,
    fit_findings,
    join_findings,
    out_of_fold_margins,
)
from clinical_backend.multilabel import says
from clinical_backend.strategy.fit import FOLDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.strategy.instances import Instances

__all__ = ["fit_images"]


def fit_images(
    instances: Instances, labels: Mapping[int, Mapping[int, str]], classes: Sequence[str], *, seed: int
) -> LinearClassifier | None:
    """Learn what single images show: a calibrated probability of each class or finding, whatever the others'.

    So it is also where an image has one class: rare ones are by far fewer among images than among tasks, and what
    weighs all classes alike would find them everywhere.

    Parameters
    ----------
    instances
        Images with a label.
    labels
        By place, by task.
    classes
        Classes or findings of the labeling config; those that all labels give, or none does, are not learnt.

    Returns
    -------
    LinearClassifier
        ``None`` where there is nothing to tell apart.
    """
    owners = np.repeat(instances.tasks, instances.counts)
    given = [labels[task][place] for task, place in zip(owners.tolist(), instances.positions.tolist(), strict=True)]
    said = np.array([[says(label, name) for name in classes] for label in given], dtype=np.float32)
    of_each = fit_findings(instances.rows, said, classes, seed=seed) if given else {}
    if not of_each:
        return None
    said = said[:, [classes.index(name) for name in of_each]]
    margins = out_of_fold_margins(instances.rows, said, folds=FOLDS, seed=seed, groups=owners)
    return calibrated(join_findings(of_each), margins, said)[0]
