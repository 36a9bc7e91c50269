"""The adaptation of a project: a small network learns the project's own images, beside the rounds."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.adaptation.network import load_adapted
from clinical_backend.training.notes import Notes, run_alone
from clinical_backend.workspace.features import THUMBNAIL
from clinical_backend.workspace.study_features import images_of

if TYPE_CHECKING:
    from clinical_backend.learner.adaptation.training import AdaptationOptions
    from clinical_backend.learner.backbones.base import Device
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["LEAST_IMAGES", "adapt_project", "adaptation_is_due", "note_adaptation", "options_for"]

logger = logging.getLogger(__name__)

LEAST_IMAGES = 500
"""From so many images on a project gets a network of its own: on fewer, of ultrasound, it found no more."""

_MOST_IMAGES = 20_000  # one core sees them about 20 times in the default time; more were not tried
_BUDGETED_IMAGES = 6000  # one core sees 5,000 of them 80 times in 14 minutes, and ADAPTATION_SECONDS is 15 by default
# However few the images are, a training has a least number of steps: 300, those of 80 passes over about as many images.
_LEAST_BUDGETED_IMAGES = 1200
_CUDA_EPOCHS = 640  # the most that was measured: up to here more made a better classifier (docs/earlier-experiments.md)
_CUDA_WIDTH = 64  # better than 32, and 128 was no better (in the same place)
_GROWTH = 1.5  # a convention: so the work of all adaptations is at most three times that of the last


def adaptation_is_due(project: ProjectWorkspace) -> bool:
    """Tell whether a project has images enough and no network, or half as many more than its network learnt."""
    if project.settings.adaptation == "off":
        return False
    try:
        known = load_adapted(project.adaptation_folder).images
    except ModelError:
        known = 0
    least = max(LEAST_IMAGES, _GROWTH * known)
    if least > _MOST_IMAGES or len(project.digests()) + project.stores.studies.count_read(project.id) < least:
        return False  # told each minute, without a look at all images
    return len(_digests(project)) >= least


def adapt_project(project: ProjectWorkspace) -> str:
    """Adapt a network to a project's images, and have a round look whether it helps.

    The images are those that rounds have read. A call that was cut off is gone on with by the next.

    Returns
    -------
    str
        What was done, for people.

    Raises
    ------
    ClinicalError
        When there are too few images, or training fails. The project goes on with what it has.
    """
    noted, busy = partial(note_adaptation, project), "Another process is adapting a network to this project."
    return run_alone(project.adaptation_folder, "adaptation", noted, partial(_adapt, project), busy=busy)


def note_adaptation(project: ProjectWorkspace, message: str) -> None:
    """Write down where the adaptation of a project stands, for people.

    Raises
    ------
    StorageError
        When the database cannot be written.
    """
    project.stores.projects.change(project.id, adaptation=message)


def options_for(images: int, seconds: float, *, device: Device, seed: int) -> AdaptationOptions:
    """Return how to adapt to so many images: on a CUDA device a larger network, and longer.

    Parameters
    ----------
    images
        How many the network is to learn.
    seconds
        The time for 6,000 images or more; fewer have a share of it, 1,200 and fewer a fifth.
    device, seed
        As the settings of these names.

    Raises
    ------
    ModelError
        When the device is missing.
    """
    from clinical_backend.learner.adaptation.training import AdaptationOptions  # noqa: PLC0415 (imports torch)
    from clinical_backend.learner.backbones.devices import torch_device  # noqa: PLC0415

    share = min(1.0, max(images, _LEAST_BUDGETED_IMAGES) / _BUDGETED_IMAGES)
    options = AdaptationOptions(image_size=THUMBNAIL, seconds=seconds * share, device=device, seed=seed)
    if torch_device(device).type == "cuda":
        options = replace(options, epochs=_CUDA_EPOCHS, width=_CUDA_WIDTH)
    return options


def _adapt(project: ProjectWorkspace) -> str:
    from clinical_backend.learner.adaptation.training import adapt  # noqa: PLC0415 (imports torch)

    digests = _digests(project)
    if len(digests) > _MOST_IMAGES:
        generator = np.random.default_rng(project.workspace.settings.seed)
        digests = [digests[row] for row in sorted(generator.permutation(len(digests))[:_MOST_IMAGES])]
    positions = project.workspace.thumbnails.positions(digests)
    images = project.workspace.thumbnails.read(sorted(positions.values())).reshape(-1, THUMBNAIL, THUMBNAIL, 3)
    settings = project.workspace.settings
    options = options_for(len(images), settings.adaptation_seconds, device=settings.device, seed=settings.seed)
    notes = Notes(partial(note_adaptation, project))
    network = adapt(images, project.adaptation_folder, options, progress=notes)
    message = f"A network is adapted to {network.images} images, in {network.seconds:.0f} s."
    note_adaptation(project, message)
    project.stores.projects.request_round(project.id, "a network was adapted to the images")
    logger.info("Project %d: %s", project.id, message)
    return message


def _digests(project: ProjectWorkspace) -> list[str]:
    """Return the project's images that have a thumbnail, those of studies too, without those of the test set."""
    every, reserved = images_of(project.stores, project.id, project.digests()), project.stores.test_sets.ids(project.id)
    tested = {digest for task in reserved & every.keys() for digest in every[task].values()}
    digests = sorted({digest for shown in every.values() for digest in shown.values()} - tested)
    known = project.workspace.thumbnails.positions(digests)
    return [digest for digest in digests if digest in known]
