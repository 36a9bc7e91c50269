"""A project with many labels, as an export finds it, and a Label Studio that gives its tasks at once.

What a real one takes to answer is Label Studio's, and is not measured with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, cast

import httpx2
import numpy as np
from PIL import Image

from clinical_backend.images.sources import ImageSource
from clinical_backend.lab.benchmarks.dashboard import CONFIG, fill
from clinical_backend.lab.benchmarks.no_network import NoNetwork
from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.labelstudio.resources import AnnotatedTask, Annotation, Project, Task, User
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.workspace.project_options import store_options
from clinical_backend.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical_backend.labelstudio.client import LabelStudioClient

__all__ = ["fill_project", "open_project"]

_DIMENSION, _DECAY = 1280, 0.7
"""As many numbers as the default backbone gives; their spread falls as such a power of their place, so that the tenth
nearest of 100,000 is about as far from an image, beside others, as that of 10,000 skin images is."""
_TWICE = 0.02
"""Share of the images that are there twice, saved again; chosen."""
_CHANGED = 0.1
"""By so much of their spread."""
_PATIENTS_TASKS = 2
_READERS = 8  # as in the dashboard's project
_FILES, _SIDE = 100, 64
_AT_ONCE = 10_000
_NOWHERE = "http://127.0.0.1:9"


def fill_project(folder: Path, labels: int) -> None:
    """Make project 1 with so many labels, and a tenth as many tasks without one; features are simulated.

    Parameters
    ----------
    folder
        MODEL_DIR; in ``files`` of it are the images.
    labels
        How many.
    """
    tasks = labels + labels // 10
    database = Database.in_folder(folder)
    workspace = _workspace(folder, database, labels)
    fill(workspace.stores, tasks, labels)
    store_options(workspace.project(1), ProjectOptions(group_field="patient"))
    store = FeatureStore(
        database, folder / "features", backbone=workspace.backbone.key, dimension=_DIMENSION, dtype=np.float32
    )
    generator = np.random.default_rng(0)
    spread = (np.arange(1, _DIMENSION + 1) ** -_DECAY).astype(np.float32)
    for start in range(1, tasks + 1, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, tasks + 1))
        rows = _rows(generator, len(numbers), spread)
        store.add([f"{number:064x}" for number in numbers], rows)
    (folder / "files").mkdir()
    for number, pixels in enumerate(drawn_cells(_FILES, 2, seed=0).images):
        content = BytesIO()
        Image.fromarray(pixels).resize((_SIDE, _SIDE)).save(content, "JPEG")
        (folder / "files" / f"{number}.jpg").write_bytes(content.getvalue())
    workspace.close()


def open_project(folder: Path, labels: int) -> Workspace:
    """Return what works with such a project; to be closed."""
    return _workspace(folder, Database.in_folder(folder), labels)


def _rows(generator: np.random.Generator, count: int, spread: NDArray[np.float32]) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = generator.standard_normal((count, len(spread)), dtype=np.float32) * spread
    again = int(count * _TWICE)
    changes = _CHANGED * generator.standard_normal((again, len(spread)), dtype=np.float32) * spread
    rows[:again] = rows[again : 2 * again] + changes
    return rows


def _workspace(folder: Path, database: Database, labels: int) -> Workspace:
    settings = load_settings(model_dir=folder, label_studio_api_key="none", label_studio_url=_NOWHERE)
    source = ImageSource(_NOWHERE, httpx2.Client(), local_roots=(folder / "files",))
    client = cast("LabelStudioClient", _LabelStudio(labels))
    return Workspace(settings, database, client=client, source=source, backbone=NoNetwork(folder, _DIMENSION))


class _LabelStudio:
    """Gives the tasks of the project, and an answer to each of the first ones, as the database has it."""

    def __init__(self, labels: int) -> None:
        self._labels, self._tasks = labels, labels + labels // 10

    def project(self, project_id: int) -> Project:
        return Project(id=project_id, label_config=CONFIG, task_number=self._tasks, created_at=datetime.now(UTC))

    def tasks(self, _project_id: int, *, after_id: int | None = None) -> list[Task]:
        return [Task(id=task, data=_data(task)) for task in range((after_id or 0) + 1, self._tasks + 1)]

    def annotated_tasks(self, _project_id: int) -> list[AnnotatedTask]:
        return [AnnotatedTask(id=task, annotations=[_answer(task)]) for task in range(1, self._labels + 1)]

    def users(self) -> list[User]:
        return [User(id=reader) for reader in range(_READERS)]

    def tasks_with_answers(self, _project_id: int, tasks: Iterable[int]) -> list[AnnotatedTask]:
        return [AnnotatedTask(id=task, data=_data(task), annotations=[_answer(task)]) for task in sorted(set(tasks))]


def _data(task: int) -> dict[str, object]:
    return {
        "image": f"/data/local-files/?d={task % _FILES}.jpg",
        "patient": f"patient {task // _PATIENTS_TASKS}",
        "age": 20 + task % 70,
        "site": f"site {task % 5}",
    }


def _answer(task: int) -> Annotation:
    name = f"class {1 + task % 7 if task % 50 else 0}"  # 2 % are rare
    choice = {"from_name": "diagnosis", "value": {"choices": [name]}}
    return Annotation(id=task, result=[choice], completed_by=task % _READERS, lead_time=5.0)
