"""Predictions on demand, from the published model."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, ModelError
from clinical_backend.images.sources import ImageRequest
from clinical_backend.labelstudio.contract import Prediction
from clinical_backend.labelstudio.labeling import choice_result, read_scheme
from clinical_backend.labelstudio.publisher import ON_DEMAND_SCORE
from clinical_backend.learner.checkpoint import CheckpointMetadata, load_checkpoint
from clinical_backend.rounds.embed import thumbnail
from clinical_backend.rounds.fetching import embed_in_time
from clinical_backend.rounds.finetuned_prediction import finetuned_in_use, finetuned_probabilities
from clinical_backend.rounds.representation import adapted_rows, join, representations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.labelstudio.contract import PredictTask
    from clinical_backend.labelstudio.labeling import LabelingScheme
    from clinical_backend.learner.classifier import LinearClassifier
    from clinical_backend.rounds.fetching import Fetched
    from clinical_backend.rounds.representation import Representation
    from clinical_backend.rounds.workshop import Workshop

__all__ = ["UNPUBLISHED_VERSION", "predict", "published_model"]

logger = logging.getLogger(__name__)

UNPUBLISHED_VERSION = "clinical-0"
"""The version before the first round is published."""


def predict(workshop: Workshop, project_id: int, label_config: str, tasks: Sequence[PredictTask]) -> list[Prediction]:
    """Return one prediction per task, in order, by the fine-tuned network where there is one, or else the head.

    A task whose image cannot be read in time, and every task while there is no model, gets an empty
    prediction. All scores lie behind the published queue.

    Parameters
    ----------
    workshop
        What predictions work with.
    project_id
        The project.
    label_config
        Its labeling config as of the call.
    tasks
        Each with its data.

    Raises
    ------
    LabelingConfigError
        When the labeling config cannot be learnt from.
    """
    settings = workshop.settings_of(project_id)
    scheme = read_scheme(label_config, settings.exemplar_control)
    row = workshop.stores.projects.get(project_id)
    version = (row.published_version if row else None) or UNPUBLISHED_VERSION
    classifier, representation = published_model(workshop, project_id, version)
    empty = Prediction(result=[], score=1.0, model_version=version)
    if classifier is None or not settings.preannotate:
        return [empty] * len(tasks)
    deadline = time.monotonic() + settings.predict_seconds
    predictions = [empty] * len(tasks)
    waiting = list(range(len(tasks)))
    finetuned = finetuned_in_use(workshop, project_id, classifier.classes)
    if finetuned is not None:
        requests = [ImageRequest(task.id, str(task.data.get(scheme.image_field) or "")) for task in tasks]
        found = finetuned_probabilities(workshop, project_id, finetuned, requests, deadline)
        waiting = [place for place in waiting if found[place] is None]
        for place, probabilities in enumerate(found):
            if probabilities is not None:
                predictions[place] = _prediction(scheme, finetuned.classes, probabilities, version)
    left = [tasks[place] for place in waiting]
    features = _features(workshop, project_id, scheme, left, representation, deadline)
    for place, vector in zip(waiting, features, strict=True):
        if vector is not None:
            by_head = classifier.probabilities(vector[None])[0]
            predictions[place] = _prediction(scheme, classifier.classes, by_head, version)
    return predictions


def _prediction(
    scheme: LabelingScheme, classes: Sequence[str], probabilities: NDArray[np.float32], version: str
) -> Prediction:
    best = int(probabilities.argmax())
    confidence = float(probabilities[best])
    known = classes[best] in scheme.classes  # a class may have been removed since the round
    return Prediction(
        result=choice_result(scheme, classes[best], confidence) if known else [],
        score=ON_DEMAND_SCORE + (1 - ON_DEMAND_SCORE) * min(1.0, max(0.0, confidence)),
        model_version=version,
    )


def published_model(
    workshop: Workshop, project_id: int, version: str
) -> tuple[LinearClassifier | None, Representation | None]:
    """Return the model of a version, with the representation that it takes."""
    folder = workshop.checkpoint_folder(project_id, version)
    if not folder.is_dir():
        return None, None
    try:
        classifier, metadata = _load(folder)
    except ModelError as error:
        logger.error("Project %d predicts nothing until its next round: %s", project_id, error)
        return None, None
    for representation in representations(workshop, project_id):
        if representation.key == metadata.backbone:
            return classifier, representation
    logger.warning("Project %d predicts nothing until its next round: the backbone was changed", project_id)
    return None, None


@lru_cache(maxsize=32)
def _load(folder: Path) -> tuple[LinearClassifier, CheckpointMetadata]:
    return load_checkpoint(folder)  # the folder of a version is written once


def _features(
    workshop: Workshop,
    project_id: int,
    scheme: LabelingScheme,
    tasks: Sequence[PredictTask],
    representation: Representation | None,
    deadline: float,
) -> list[NDArray[np.float32] | None]:
    """Return the feature of each task; ``None`` where its image cannot be read in time."""
    features: list[NDArray[np.float32] | None] = [None] * len(tasks)
    addresses = [str(task.data.get(scheme.image_field) or "") for task in tasks]
    known = workshop.stores.images.all(project_id, [task.id for task in tasks if task.id is not None])
    digests: dict[int, str] = {}
    for place, task in enumerate(tasks):
        image = known.get(task.id) if task.id is not None else None
        if image is not None and image.digest is not None and image.uri == addresses[place]:
            digests[place] = image.digest
    positions = workshop.features.positions(digests.values())
    cached = [place for place, digest in digests.items() if digest in positions]
    rows = workshop.features.read([positions[digests[place]] for place in cached])
    for place, vector in zip(cached, rows, strict=True):
        features[place] = vector
    missing = [place for place, vector in enumerate(features) if vector is None]
    digests |= _embed_missing(workshop, tasks, addresses, missing, features, deadline)
    if representation is None or representation.adapted is None:
        return features
    own = adapted_rows(workshop, representation.adapted, [digests.get(place, "") for place in range(len(tasks))])
    return [
        None if first is None or second is None else join(first[None], second[None])[0]
        for first, second in zip(features, own, strict=True)
    ]


def _embed_missing(
    workshop: Workshop,
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
    fetched = embed_in_time(workshop.source, workshop.embedder, requests, deadline)
    for place, image in zip(missing, fetched, strict=False):
        left -= 1
        if image is not None:
            features[place], digests[place] = image.feature, image.digest
            _remember(workshop, image)
    if left:
        logger.warning("%d images are left out: PREDICT_SECONDS is over. A round embeds them all.", left)
    return digests


def _remember(workshop: Workshop, image: Fetched) -> None:
    try:
        if workshop.settings.adaptation != "off":
            workshop.thumbnails.add([image.digest], thumbnail(image.pixels).reshape(1, -1))
        workshop.features.add([image.digest], image.feature[None])
    except ClinicalError as error:
        logger.warning("A feature is not kept: %s", error)
