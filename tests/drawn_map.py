"""A map that is drawn by hand, for pages."""

import numpy as np

from clinical_backend.learner.neighbourhood import find_neighbourhoods
from clinical_backend.learner.projection import Projection
from clinical_backend.workspace.map_files import ProjectMap, save_map


def draw_by_hand(project, tasks=range(1, 101)):
    """Draw the map of a project: tasks in rows of ten, the later the higher their scores."""
    ids = np.array(tasks, dtype=np.int64)
    places = np.stack([(ids - 1) % 10, (ids - 1) // 10], axis=1).astype(np.float32)
    nothing = np.zeros((0, 2), dtype=np.float32)
    drawn = ProjectMap(
        "a test",
        project.row.published_version or "",
        len(ids),
        1.0,
        Projection(nothing[:, 0], nothing, nothing, nothing),
        ids,
        places,
        (ids / 100).astype(np.float32),
        find_neighbourhoods(places),
    )
    save_map(project.map_folder, drawn)
    return drawn
