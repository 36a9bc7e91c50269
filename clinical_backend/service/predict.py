"""Predictions on demand, from the published model: what somebody asks for, and what Label Studio asks for by itself."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.images.sources import ImageRequest
from clinical_backend.labelstudio.contract import Prediction
from clinical_backend.labelstudio.labeling.scheme import choice_result, read_scheme
from clinical_backend.versions import on_demand_version
from clinical_backend.workspace.embedding import thumbnail
from clinical_backend.workspace.features import adapted_rows, join
from clinical_backend.workspace.fetching import embed_in_time
from clinical_backend.workspace.finetuned import finetuned_in_use, finetuned_probabilities
from clinical_backend.workspace.models import UNPUBLISHED_VERSION, published_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.labelstudio.contract import PredictTask
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.workspace.features import Representation
    from clinical_backend.workspace.fetching import Fetched
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["predict"]

logger = logging.getLogger(__name__)


def predict(
    workspace: Workspace,
    project_id: int,
    label_config: str,
    tasks: Sequence[PredictTask],
    *,
    interactive: bool = False,
) -> list[Prediction | None]:
    """Return one prediction per task, in order, by the fine-tuned network where there is one, or else the head.

    Where somebody asked, every task gets one; it is empty where the image cannot be read in time, and while there is no
    model. Where Label Studio asks by itself, because a task without predictions was opened, the class would stand
    ticked below an image of which nobody wanted to know it: ``None``, unless PREANNOTATE is ``all``, and also then for
    random draws and for tasks that have an answer.

    Parameters
    ----------
    workspace
        What predictions work with.
    project_id
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
    settings = workspace.settings_of(project_id)
    scheme = read_scheme(label_config, settings.exemplar_control, settings.class_control)
    row = workspace.stores.projects.get(project_id)
    published = row.published_version if row else None
    version = on_demand_version(published) if published else UNPUBLISHED_VERSION
    if _somebody_asked(workspace, project_id, tasks, interactive=interactive):
        return list(_predictions(workspace, project_id, scheme, tasks, published, version))
    given: list[Prediction | None] = [None] * len(tasks)
    if settings.preannotate == "all":
        unled = workspace.stores.rounds.drawn_at_random(project_id, [task.id for task in tasks if task.id is not None])
        unled |= workspace.stores.second_readings.open_tasks(project_id)
        places = [place for place, task in enumerate(tasks) if task.id not in unled and not task.annotations]
        chosen = [tasks[place] for place in places]
        predictions = _predictions(workspace, project_id, scheme, chosen, published, version)
        for place, prediction in zip(places, predictions, strict=True):
            given[place] = prediction if prediction.result else None
    return given


def _somebody_asked(workspace: Workspace, project_id: int, tasks: Sequence[PredictTask], *, interactive: bool) -> bool:
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
        return not workspace.client.project(project_id).evaluate_predictions_automatically
    except ClinicalError as error:
        logger.warning(
            "Project %d: taken for Retrieve predictions, since its settings cannot be read: %s", project_id, error
        )
        return True


def _predictions(
    workspace: Workspace,
    project_id: int,
    scheme: LabelingScheme,
    tasks: Sequence[PredictTask],
    published: str | None,
    version: str,
) -> list[Prediction]:
    """Return a prediction for each task, an empty one where nothing can be said."""
    settings = workspace.settings_of(project_id)
    empty = Prediction(result=[], model_version=version)
    classifier, representation = (
        (None, None) if published is None else published_model(workspace, project_id, published)
    )
    if classifier is None or not tasks:
        return [empty] * len(tasks)
    deadline = time.monotonic() + settings.predict_seconds
    predictions = [empty] * len(tasks)
    waiting = list(range(len(tasks)))
    finetuned = finetuned_in_use(workspace, project_id, classifier.classes)
    if finetuned is not None:
        requests = [ImageRequest(task.id, scheme.address_of(task.data)) for task in tasks]
        found = finetuned_probabilities(workspace, project_id, finetuned, requests, deadline)
        waiting = [place for place in waiting if found[place] is None]
        for place, probabilities in enumerate(found):
            if probabilities is not None:
                predictions[place] = _prediction(scheme, finetuned.classes, probabilities, version)
    left = [tasks[place] for place in waiting]
    features = _features(workspace, project_id, scheme, left, representation, deadline)
    for place, vector in zip(waiting, features, strict=True):
        if vector is not None:
            by_head = classifier.probabilities(vector[None])[0]
            predictions[place] = _prediction(scheme, classifier.classes, by_head, version)
    return predictions


def _prediction(
    scheme: LabelingScheme, classes: Sequence[str], probabilities: NDArray[np.float32], version: str
) -> Prediction:
    name = classes[int(probabilities.argmax())]
    known = name in scheme.classes  # a class may have been removed since the round
    return Prediction(result=choice_result(scheme, name) if known else [], model_version=version)


def _features(
    workspace: Workspace,
    project_id: int,
    scheme: LabelingScheme,
    tasks: Sequence[PredictTask],
    representation: Representation | None,
    deadline: float,
) -> list[NDArray[np.float32] | None]:
    """Return the feature of each task; ``None`` where its image cannot be read in time."""
    features: list[NDArray[np.float32] | None] = [None] * len(tasks)
    addresses = [scheme.address_of(task.data) for task in tasks]
    known = workspace.stores.images.all(project_id, [task.id for task in tasks if task.id is not None])
    digests: dict[int, str] = {}
    for place, task in enumerate(tasks):
        image = known.get(task.id) if task.id is not None else None
        if image is not None and image.digest is not None and image.uri == addresses[place]:
            digests[place] = image.digest
    positions = workspace.features.positions(digests.values())
    cached = [place for place, digest in digests.items() if digest in positions]
    rows = workspace.features.read([positions[digests[place]] for place in cached])
    for place, vector in zip(cached, rows, strict=True):
        features[place] = vector
    missing = [place for place, vector in enumerate(features) if vector is None]
    digests |= _embed_missing(workspace, tasks, addresses, missing, features, deadline)
    if representation is None or representation.adapted is None:
        return features
    own = adapted_rows(workspace, representation.adapted, [digests.get(place, "") for place in range(len(tasks))])
    return [
        None if first is None or second is None else join(first[None], second[None])[0]
        for first, second in zip(features, own, strict=True)
    ]


def _embed_missing(
    workspace: Workspace,
    tasks: Sequence[PredictTask],
    addresses: Sequence[str],
    missing: Sequence[int],
    features: list[NDArray[np.float32] | None],
    deadline: float,
) -> dict[int, str]:
    """Fill in features of images that no round has met, as far as the time for one call goes.

    Returns what identifies the images of the places that were filled in.
    """
    digests: dict[int, str] = {}
    requests = [ImageRequest(tasks[place].id, addresses[place]) for place in missing]
    left = len(missing)
    fetched = embed_in_time(workspace.source, workspace.embedder, requests, deadline)
    for place, image in zip(missing, fetched, strict=False):
        left -= 1
        if image is not None:
            features[place], digests[place] = image.feature, image.digest
            _remember(workspace, image)
    if left:
        logger.warning("%d images are left out: PREDICT_SECONDS is over. A round embeds them all.", left)
    return digests


def _remember(workspace: Workspace, image: Fetched) -> None:
    try:
        if workspace.settings.adaptation != "off":
            workspace.thumbnails.add([image.digest], thumbnail(image.pixels).reshape(1, -1))
        workspace.features.add([image.digest], image.feature[None])
    except ClinicalError as error:
        logger.warning("A feature is not kept: %s", error)
