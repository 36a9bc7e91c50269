"""Predictions for single images of tasks, where readers answer image by image."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from clinical_backend.errors import ModelError
from clinical_backend.labelstudio.labeling.regions import image_results
from clinical_backend.labelstudio.labeling.views import images_of
from clinical_backend.multilabel import predicted
from clinical_backend.workspace.study_features import look_up_images
from clinical_backend.workspace.witness_files import load_image_classifier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.labelstudio.contract import PredictTask
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["likely_label", "predict_images"]

logger = logging.getLogger(__name__)


def predict_images(
    project: ProjectWorkspace, scheme: LabelingScheme, tasks: Sequence[PredictTask], published: str, deadline: float
) -> dict[int, list[dict[str, Any]]]:
    """Return by its place the regions of each task of which all images could be looked at before the deadline.

    They say of each image what it shows, by what was learnt from answers about single images.

    Parameters
    ----------
    scheme
        Of a labeling config that asks of each image of a list.
    published
        The version whose model predicts. Nothing is said where its round knew too few such answers.
    deadline
        By ``time.monotonic``.
    """
    workspace = project.workspace
    try:
        classifier = load_image_classifier(project.checkpoint_folder(published), workspace.backbone.key)
    except ModelError as error:
        logger.error("Project %d predicts nothing until its next round: %s", project.id, error)
        return {}
    if classifier is None:
        return {}
    limit = workspace.settings.images_per_task
    of_list = [view for view in scheme.every_view if view.name == scheme.image_name]
    shown = [(task.id, images_of(of_list, task.data, limit)) for task in tasks]
    found = look_up_images(project.stores, project.id, project.frozen, shown, deadline)
    if len(found) < len(tasks) and time.monotonic() > deadline:
        left = len(tasks) - len(found)
        logger.warning("%d tasks are left out: PREDICT_SECONDS is over. A round embeds all their images.", left)
    regions = {}
    for place, instances in found.items():
        every = (likely_label(scheme, classifier.classes, row) for row in classifier.probabilities(instances.rows))
        labels = zip(instances.positions.tolist(), every, strict=True)
        regions[place] = image_results(scheme, {item: label for item, label in labels if label is not None})
    return regions


def likely_label(scheme: LabelingScheme, classes: Sequence[str], probabilities: NDArray[np.float32]) -> str | None:
    """Return the label that probabilities of classes, or of findings, speak for; ``None`` for a class removed since."""
    if scheme.several is not None:
        return predicted(classes, probabilities, scheme.classes)
    name = classes[int(probabilities.argmax())]
    return name if name in scheme.classes else None
