"""Predictions on demand, from the published model: what somebody asks for, and what Label Studio asks for by itself."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.images.sources import ImageRequest
from clinical_backend.labelstudio.contract import Prediction
from clinical_backend.labelstudio.labeling.regions import choice_result
from clinical_backend.service.image_predictions import likely_label, predict_images
from clinical_backend.study import address_of_images
from clinical_backend.versions import UNPUBLISHED_VERSION, on_demand_version
from clinical_backend.workspace.controls import read_as_set
from clinical_backend.workspace.file_pages import pages_shown
from clinical_backend.workspace.finetuned import finetuned_in_use
from clinical_backend.workspace.study_features import PooledStudies, WitnessedStudies, look_up_studies

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.labelstudio.contract import PredictTask
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["predict"]

logger = logging.getLogger(__name__)


def predict(
    project: ProjectWorkspace,
    label_config: str,
    tasks: Sequence[PredictTask],
    *,
    interactive: bool = False,
) -> list[Prediction | None]:
    """Return one prediction per task, in order, by the fine-tuned network where there is one, or else the head.

    Where somebody asked, every task gets one; it is empty where the image cannot be read in time, and while there is no
    model. Where Label Studio asks by itself, because a task without predictions was opened, the class would stand
    ticked below an image of which nobody wanted to know it: ``None``, unless PREANNOTATE is ``all``, and also then for
    random draws and for tasks that have an answer. Of the test set nothing is ever said: it is read blind.

    Parameters
    ----------
    project
        The project.
    label_config
        Its labeling config as of the call.
    tasks
        Each with its data.
    interactive
        Whether a reader is annotating the task meanwhile.

    Raises
    ------
    LabelingConfigError
        When the labeling config cannot be learnt from.
    """
    settings = project.settings
    scheme = read_as_set(label_config, settings)
    row = project.row
    published = row.published_version if row else None
    version = on_demand_version(published) if published else UNPUBLISHED_VERSION
    reserved = project.stores.test_sets.ids(project.id)
    if _somebody_asked(project, tasks, interactive=interactive):
        asked = [place for place, task in enumerate(tasks) if task.id not in reserved]
        said = _predictions(project, scheme, [tasks[place] for place in asked], published, version)
        of_place = dict(zip(asked, said, strict=True))
        return [of_place.get(place, Prediction(result=[], model_version=version)) for place in range(len(tasks))]
    given: list[Prediction | None] = [None] * len(tasks)
    if settings.preannotate == "all":
        unled = project.stores.rounds.drawn_at_random(project.id, [task.id for task in tasks if task.id is not None])
        unled |= project.stores.second_readings.open_tasks(project.id) | reserved
        places = [place for place, task in enumerate(tasks) if task.id not in unled and not task.annotations]
        chosen = [tasks[place] for place in places]
        predictions = _predictions(project, scheme, chosen, published, version)
        for place, prediction in zip(places, predictions, strict=True):
            given[place] = prediction if prediction.result else None
    return given


def _somebody_asked(project: ProjectWorkspace, tasks: Sequence[PredictTask], *, interactive: bool) -> bool:
    """Tell *Retrieve predictions* from what Label Studio asks by itself, which is always for tasks without predictions.

    It asks for a single one when that is opened, which looks like *Retrieve predictions* of one task; and for a page of
    them where the project is set so.
    """
    if interactive:
        return False
    if any(task.predictions for task in tasks):
        return True
    if len(tasks) <= 1:
        return False
    try:
        return not project.client.project(project.id).evaluate_predictions_automatically
    except ClinicalError as error:
        logger.warning(
            "Project %d: taken for Retrieve predictions, since its settings cannot be read: %s", project.id, error
        )
        return True


def _predictions(
    project: ProjectWorkspace,
    scheme: LabelingScheme,
    tasks: Sequence[PredictTask],
    published: str | None,
    version: str,
) -> list[Prediction]:
    """Return a prediction for each task, an empty one where nothing can be said."""
    predictions = [Prediction(result=[], model_version=version)] * len(tasks)
    model = None if published is None else project.published_model(published)
    if model is None or not tasks:
        return predictions
    classifier, representation = model
    if classifier.independent is not (scheme.several is not None):
        return predictions  # the labeling config asks for labels of another kind since the round
    deadline = time.monotonic() + project.settings.predict_seconds
    if scheme.per_item:
        assert published is not None
        regions = predict_images(project, scheme, tasks, published, deadline)
        return [Prediction(result=regions.get(place, []), model_version=version) for place in range(len(tasks))]
    shown = [(task.id, scheme.images_of(task.data, project.workspace.settings.images_per_task)) for task in tasks]
    known = pages_shown(project, {task: images for task, images in shown if task is not None})
    shown = [(task, images if task is None else known[task]) for task, images in shown]
    requests = [ImageRequest(task, address_of_images(images)) for task, images in shown]
    waiting = list(range(len(tasks)))
    finetuned = None if classifier.independent else finetuned_in_use(project, classifier.classes)
    if finetuned is not None:
        answered = project.look_up(finetuned.probabilities, requests, deadline).by_place
        for place, probabilities in answered.items():
            predictions[place] = _prediction(scheme, finetuned.classes, probabilities, version)
        waiting = [place for place in waiting if place not in answered]
    if isinstance(representation, PooledStudies | WitnessedStudies):
        found = look_up_studies(
            project.stores, project.id, representation, [shown[place] for place in waiting], deadline
        )
    else:
        found = project.look_up(representation, [requests[place] for place in waiting], deadline).by_place
    for place, vector in found.items():
        by_head = classifier.probabilities(vector[None])[0]
        predictions[waiting[place]] = _prediction(scheme, classifier.classes, by_head, version)
    if len(found) < len(waiting) and time.monotonic() > deadline:
        left = len(waiting) - len(found)
        logger.warning("%d images are left out: PREDICT_SECONDS is over. A round embeds them all.", left)
    return predictions


def _prediction(
    scheme: LabelingScheme, classes: Sequence[str], probabilities: NDArray[np.float32], version: str
) -> Prediction:
    label = likely_label(scheme, classes, probabilities)
    return Prediction(result=[] if label is None else choice_result(scheme, label), model_version=version)
