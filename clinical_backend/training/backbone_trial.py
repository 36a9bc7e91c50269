"""Another backbone, tried on a project beside its rounds: its images are embedded, and its labels compare the two."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from clinical_backend.errors import ModelError
from clinical_backend.images.sources import ImageRequest
from clinical_backend.learner.classifier.linear import out_of_fold_logits
from clinical_backend.learner.evaluation.metrics import average_precision
from clinical_backend.learner.evaluation.network_gain import cross_fitted, gain
from clinical_backend.strategy.groups import group_codes
from clinical_backend.system.pulse import note_progress
from clinical_backend.training.finetuning import labelled_images
from clinical_backend.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.training.finetuning import LabelledImage
    from clinical_backend.workspace.features import ImageFeatures
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["embed_images", "try_backbone"]

logger = logging.getLogger(__name__)

_BATCH = 128  # as a round does
_LEAST_LABELS = 20  # of fewer, a fold of five holds out three or less
_FOLDS = 5
_PATIENCE = 600.0  # seconds for a batch, as long as a round reads images: those of a slow host are left to the rounds


def try_backbone(
    project: ProjectWorkspace,
    backbone: str,
    *,
    image_size: int | None = None,
    progress: Callable[[int, int], None],
) -> str:
    """Embed a project's images with another backbone, and compare it with the present one on the labels at hand.

    Rounds and readers go on with the present one meanwhile, and afterwards. The features are kept under the key that
    they have once the backbone is set, so the round after a change finds them.

    Parameters
    ----------
    backbone, image_size
        As the settings of these names.
    progress
        Called with the number of images done and of all.

    Returns
    -------
    str
        What was found, for people.

    Raises
    ------
    ModelError
        When the backbone cannot be loaded, is the present one, or the project's images were not read yet.
    """
    present = project.workspace
    if present.stores.studies.any(project.id):
        raise ModelError(
            "A backbone is tried on tasks of one image, and tasks of this project have several.",
            "Try it on another project, or set BACKBONE: the next round makes all features anew.",
        )
    settings = present.settings.model_copy(update={"backbone": backbone, "image_size": image_size, "adaptation": "off"})
    other = Workspace(settings, present.stores.database, client=present.client, source=present.source)
    if other.spec.key == present.spec.key:
        raise ModelError("That is the present backbone.", "Name another one, or another size of images.")
    images = [image for image in present.stores.images.all(project.id).values() if image.digest is not None]
    if not images:
        raise ModelError(f"No image of project {project.id} was read yet.", "Start a round first.")
    made = embed_images(other.features, images, progress)
    message = (
        f"{made} of {len(images)} images have features of {other.spec.architecture} at {other.spec.image_size} px. "
    )
    verdict = _compared(project, present.features, other.features)
    logger.info("Project %d: %s%s", project.id, message, verdict)
    return message + verdict


def embed_images(features: ImageFeatures, images: Sequence[KnownImage], progress: Callable[[int, int], None]) -> int:
    """Return how many of some images have a feature, once it was made of those that had none.

    Parameters
    ----------
    features
        What makes and keeps them.
    images
        Those that were read before; one that cannot be read now is passed over.
    progress
        Called with the number of images done and of all.
    """
    made = 0
    for start in range(0, len(images), _BATCH):
        progress(start, len(images))
        note_progress()
        batch = images[start : start + _BATCH]
        requests = [ImageRequest(image.task_id, image.uri, image.position) for image in batch]
        found = features.look_up([image.digest for image in batch], requests, time.monotonic() + _PATIENCE)
        made += len(found.digests)
    progress(len(images), len(images))
    return made


def _compared(project: ProjectWorkspace, present: ImageFeatures, other: ImageFeatures) -> str:
    """Say which of the two tells the classes apart better, each label judged by classifiers that had not seen it."""
    labelled, rows = _with_both(labelled_images(project), present, other)
    counts = Counter(image.label for image in labelled)
    judged = np.array([counts[image.label] > 1 for image in labelled], dtype=bool)
    labelled = [image for image, one in zip(labelled, judged, strict=True) if one]
    classes = sorted({image.label for image in labelled})
    if len(labelled) < _LEAST_LABELS or len(classes) < 2:
        return f"{len(labelled)} labels of {len(classes)} classes are too few to compare the two."
    truth = np.array([classes.index(image.label) for image in labelled])
    groups = group_codes([image.task_id for image in labelled], project.stores.images.groups(project.id))
    seed = project.settings.seed
    before, after = (
        out_of_fold_logits(each[judged], truth, classes, folds=_FOLDS, seed=seed, groups=groups) for each in rows
    )
    found = gain(cross_fitted([before], truth), cross_fitted([after], truth), truth)
    verdict = "better" if found.is_clear else "worse" if -found.mean > found.error else "neither better nor worse"
    figures = f"loss {-found.mean:+.2f} against the present one, standard error {found.error:.2f}"
    rare = [name for name in project.stores.rounds.published_report(project.id).target if name in classes]
    return f"On {len(labelled)} labels it is {verdict} ({figures}{_precisions(before, after, truth, classes, rare)})."


def _with_both(
    labelled: list[LabelledImage], present: ImageFeatures, other: ImageFeatures
) -> tuple[list[LabelledImage], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the labelled images that have features of both, and these."""
    digests = [image.digest for image in labelled]
    first, second = (features.look_up(digests) for features in (present, other))
    places = np.intersect1d(first.places, second.places)
    rows = tuple(found.rows[np.searchsorted(found.places, places)] for found in (first, second))
    return [labelled[place] for place in places.tolist()], (rows[0], rows[1])


def _precisions(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    truth: NDArray[np.intp],
    classes: list[str],
    rare: list[str],
) -> str:
    columns = [classes.index(name) for name in rare]
    is_rare = np.isin(truth, columns)
    if not is_rare.any() or is_rare.all():
        return ""
    scores = [softmax(each, axis=1)[:, columns].sum(axis=1) for each in (after, before)]
    now, earlier = (average_precision(is_rare, each) or 0.0 for each in scores)
    return f"; average precision of the rare classes {now:.2f}, of the present one {earlier:.2f}"
