"""The cases that look most like a picture that is given, which is not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ImageError
from clinical_backend.service.outside_exemplars import FILE_LIMIT
from clinical_backend.service.similar import Similar, compare, compared_tasks
from clinical_backend.strategy.instances import Instances
from clinical_backend.workspace.features import Representation

if TYPE_CHECKING:
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["find_like_picture"]


def find_like_picture(project: ProjectWorkspace, content: bytes, limit: int) -> Similar:
    """Return the cases of a project that look most like a picture, labelled or not; the test set is left out.

    It is decoded as images of tasks are, in a process that a hostile file can harm alone, and goes through the backbone
    that serves the project. Neither it nor anything made of it is kept.

    Parameters
    ----------
    content
        Bytes of the file.
    limit
        How many are wanted.

    Raises
    ------
    ImageError
        When the file cannot be read.
    ClinicalError
        When the network cannot be loaded, or the features cannot be read.
    """
    if len(content) > FILE_LIMIT:
        raise ImageError(f"It has more than {FILE_LIMIT // 2**20} MiB.", "Give a smaller version of it.")
    tasks = compared_tasks(project)
    if not tasks:  # without a look at the network, which takes long to load
        return Similar((), 0, 0, has_feature=True)
    representation = project.representations()[0]
    if isinstance(representation, Representation):
        own = representation.frozen.of_content(content)[None]
    else:
        nothing, feature = np.zeros(1, dtype=np.int64), representation.images.frozen.of_content(content)
        own = representation.represent(Instances(nothing, feature[None], nothing, nothing))
    return compare(project, representation, own, tasks, limit)
