"""What a process works with, and a project's part of it."""

from __future__ import annotations

import logging
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, cast

import numpy as np
from pydantic import ValidationError

from clinical_backend.errors import ClinicalError, ModelError
from clinical_backend.images.sources import ImageRequest
from clinical_backend.labelstudio.connection.installation import Installation
from clinical_backend.learner.adaptation.network import AdaptedBackbone, load_adapted
from clinical_backend.learner.backbones.loading import parse_backbone
from clinical_backend.learner.backbones.packaged import trainable_spec
from clinical_backend.learner.backbones.preprocessing import PREPROCESSING
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.learner.finetuning.network import FinetunedBackbone
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.settings import Settings, SettingsError
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.opening import identity_of, open_database
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.strategy.tasks import FeaturedTasks
from clinical_backend.versions import installation_id, on_demand_version
from clinical_backend.workspace.components import (
    open_backbone,
    open_client,
    open_decoder,
    open_embedder,
    open_source,
)
from clinical_backend.workspace.features import THUMBNAIL, AdaptedFeatures, ImageFeatures, Representation
from clinical_backend.workspace.finetuning_record import Finetuned, read_record
from clinical_backend.workspace.study_features import PooledStudies, WitnessedStudies
from clinical_backend.workspace.witness_files import load_witnesses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from numpy.typing import DTypeLike, NDArray

    from clinical_backend.images.sources import ImageSource
    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.resources import Project
    from clinical_backend.learner.backbones.base import Backbone, BackboneSpec
    from clinical_backend.learner.backbones.embedder import Decode
    from clinical_backend.learner.checkpoint import CheckpointMetadata
    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.schema import Project as ProjectRow
    from clinical_backend.workspace.features import Vectors

    Represented: TypeAlias = Representation | PooledStudies | WitnessedStudies

__all__ = ["ProjectWorkspace", "Workspace", "open_workspace"]

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 10.0
"""For one image: a twelfth of what a round gives it."""
_HELD_WHOLE = 400_000
"""Tasks whose features a round holds in float32: 2 GB in 1,280 dimensions. Those of more it holds in float16, which
leaves a unit vector within 0.0005 of where it was, far nearer than two images ever are (docs/backbones.md)."""
_PART = 50_000
"""Features read at once where they are many: 256 MB."""
_PROJECTS = 1000
"""Projects whose networks stay loaded, at most: calls may name any number of them."""


class Workspace:
    """What a process works with: made once, and handed to all that need it.

    Parameters
    ----------
    settings
        Of the backend.
    database
        Its state.
    client, source, watching_source, backbone, decode
        What stands for the properties of these names. By default each is made as the settings say when it is first
        needed: a backbone takes seconds to load, and a command that reads the state needs no key of Label Studio.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        client: LabelStudioClient | None = None,
        source: ImageSource | None = None,
        watching_source: ImageSource | None = None,
        backbone: Backbone | None = None,
        decode: Decode | None = None,
    ) -> None:
        self.settings = settings
        self.stores = Stores(database)
        self._project = lru_cache(_PROJECTS)(partial(ProjectWorkspace, self))
        given = {
            "client": client,
            "source": source,
            "watching_source": watching_source,
            "backbone": backbone,
            "decode": decode,
        }
        for name, component in given.items():
            if component is not None:
                setattr(self, name, component)

    def close(self) -> None:
        """Close the database."""
        self.stores.database.close()

    def project(self, project_id: int) -> ProjectWorkspace:
        """Return a project's part of it, whether the project is served or not."""
        return self._project(project_id)

    @cached_property
    def client(self) -> LabelStudioClient:
        """Label Studio's API."""
        return open_client(self.settings)

    @cached_property
    def source(self) -> ImageSource:
        """Images by address."""
        return open_source(self.settings, self.client)

    @cached_property
    def watching_source(self) -> ImageSource:
        """The same images, for a look whether they changed: nobody waits for it, so it gives up soon."""
        return open_source(self.settings, self.client, _LOOK_SECONDS)

    @cached_property
    def spec(self) -> BackboneSpec:
        """Which network makes features, known without loading it."""
        folder = self.settings.model_dir / "backbones"
        return parse_backbone(self.settings.backbone, image_size=self.settings.image_size, folder=folder)

    @cached_property
    def trainable(self) -> BackboneSpec:
        """Which network fine-tuning goes on from."""
        return trainable_spec(self.spec)

    @cached_property
    def backbone(self) -> Backbone:
        """The network that makes features."""
        return open_backbone(self.settings)

    @cached_property
    def decode(self) -> Decode:
        """From the bytes of an image to pixels."""
        return open_decoder(self.spec.sizes)

    @cached_property
    def features(self) -> ImageFeatures:
        """The backbone's features of images; where adaptation is on, their thumbnails are kept beside."""
        thumbnails = None if self.settings.adaptation == "off" else self.thumbnails
        store = self.feature_store(self.backbone.key, self.backbone.dimension)
        return ImageFeatures(store, self.source, open_embedder(self.backbone, self.decode), thumbnails)

    @cached_property
    def thumbnails(self) -> FeatureStore:
        """Small pixels of the images that were embedded, for adaptation: shape (n, THUMBNAIL² × 3), uint8."""
        return self.feature_store(f"thumbnails-{THUMBNAIL}-{PREPROCESSING}", THUMBNAIL * THUMBNAIL * 3, np.uint8)

    def feature_store(self, key: str, dimension: int, dtype: DTypeLike = np.float32) -> FeatureStore:
        """Return where what a network makes of images is kept."""
        folder = self.settings.model_dir / "features"
        return FeatureStore(self.stores.database, folder, backbone=key, dimension=dimension, dtype=dtype)


class ProjectWorkspace:
    """What there is to work with at one project.

    Parameters
    ----------
    workspace
        What the process works with.
    project_id
        The project. It need not be served.
    """

    def __init__(self, workspace: Workspace, project_id: int) -> None:
        self.workspace = workspace
        self.id = project_id
        self.stores = workspace.stores
        self.rests_until = 0.0
        """Until when the hosts of its images are left alone, by ``time.monotonic``: they answer slowly."""
        self._adapted: AdaptedFeatures | None = None
        self._finetuned: Finetuned | None = None

    @property
    def client(self) -> LabelStudioClient:
        """Label Studio's API."""
        return self.workspace.client

    @property
    def row(self) -> ProjectRow | None:
        """What the database knows of it now; ``None`` where it is not served."""
        return self.stores.projects.get(self.id)

    @property
    def settings(self) -> Settings:
        """The backend's settings with the project's own options, as they are now, laid over them.

        Raises
        ------
        SettingsError
            When an option has a value that cannot be worked with.
        """
        row = self.row
        try:
            options = ProjectOptions.model_validate(row.options | row.page_options if row else {})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise SettingsError(
                f"The extra parameters of project {self.id} are wrong: {wrong}.",
                "Correct them on the project's page, or in its settings in Label Studio, under Model.",
            ) from None
        return self.workspace.settings.for_project(options)

    @property
    def page(self) -> str:
        """Address of its page."""
        return self.workspace.settings.page_of(self.id)

    @property
    def adaptation_folder(self) -> Path:
        """Where the network that is adapted to its images is kept."""
        return self.workspace.settings.model_dir / "adapted" / str(self.id)

    @property
    def finetuning_folder(self) -> Path:
        """Where its fine-tuned network and the record of that are kept."""
        return self.workspace.settings.model_dir / "finetuned" / str(self.id)

    def checkpoint_folder(self, version: str) -> Path:
        """Return where the classifier of a round is kept."""
        return self.workspace.settings.model_dir / "checkpoints" / str(self.id) / version

    def adapted(self) -> AdaptedFeatures | None:
        """Return what the network that is adapted to its images makes; ``None`` where there is none, or it is off."""
        folder, workspace = self.adaptation_folder, self.workspace
        if workspace.settings.adaptation == "off" or not (folder / "adapted.json").is_file():
            return None
        network = load_adapted(folder)
        if self._adapted is None or self._adapted.backbone.network != network:
            backbone = AdaptedBackbone(folder)
            store = workspace.feature_store(backbone.key, backbone.dimension)
            self._adapted = AdaptedFeatures(backbone, store, workspace.thumbnails)
        return self._adapted

    def finetuned(self) -> Finetuned | None:
        """Return the fine-tuned network that it uses; ``None`` where the head is better, or not yet worse.

        Raises
        ------
        ModelError
            When its files are missing or were changed.
        """
        workspace, record = self.workspace, read_record(self.finetuning_folder)
        if record is None or record.network is None or record.backbone != workspace.trainable.key:
            return None
        if self._finetuned is None or self._finetuned.name != record.network:
            backbone = FinetunedBackbone(self.finetuning_folder / record.network)
            head = backbone.head
            probabilities = ImageFeatures(
                workspace.feature_store(f"probabilities-{record.network}", len(head.classes)),
                workspace.source,
                open_embedder(backbone, workspace.decode),
                head=head.probabilities,
            )
            self._finetuned = Finetuned(record.network, head.classes, probabilities)
        return self._finetuned

    def representations(self) -> list[Represented]:
        """Return what its tasks can be represented by: frozen features, and joined where a network is adapted to them.

        Where tasks have several images, by what is made of the frozen features of these.
        """
        if self.stores.studies.any(self.id):
            return self._of_studies()
        key, features = self.workspace.backbone.key, self.workspace.features
        frozen = Representation(key, features)
        try:
            adapted = self.adapted()
        except ClinicalError as error:
            logger.warning("Project %d goes on with frozen features: %s", self.id, error)
            return [frozen]
        if adapted is None:
            return [frozen]
        return [frozen, Representation(f"{key}+{adapted.backbone.key}", features, adapted)]

    def _of_studies(self) -> list[Represented]:
        """Return what tasks of several images can be represented by: all together, or the one that decides."""
        backbone, features = self.workspace.backbone, self.workspace.features
        key = f"{backbone.key}+pooled"
        store = self.workspace.feature_store(key, 2 * backbone.dimension)
        pooled = PooledStudies(key, features, store, (backbone.dimension, backbone.dimension))
        row = self.row
        if row is None or row.published_version is None:
            return [pooled]
        try:
            found = load_witnesses(self.checkpoint_folder(row.published_version), backbone.key, features)
        except ModelError as error:
            logger.warning("Project %d goes on with all images of its tasks together: %s", self.id, error)
            return [pooled]
        return [pooled] if found is None else [pooled, found]

    def published_model(self, version: str) -> tuple[LinearClassifier, Represented] | None:
        """Return the model of a version, with the representation that it takes; ``None`` where it cannot be used."""
        folder = self.checkpoint_folder(version)
        if not folder.is_dir():
            return None
        try:
            classifier, metadata = _load(folder)
        except ModelError as error:
            logger.error("Project %d predicts nothing until its next round: %s", self.id, error)
            return None
        for representation in self.representations():
            if representation.key == metadata.backbone:
                return classifier, representation
        logger.warning("Project %d predicts nothing until its next round: the backbone was changed", self.id)
        return None

    def digests(self, tasks: Iterable[int] | None = None) -> dict[int, str]:
        """Return what identifies the image of each task that was read, in the order of the tasks; of all by default."""
        wanted = None if tasks is None else list(tasks)
        digests = self.stores.images.digests(self.id, wanted)
        return digests if wanted is None else {task: digests[task] for task in wanted if task in digests}

    def features_of(self, representation: Represented, tasks: Iterable[int]) -> FeaturedTasks:
        """Return those of the tasks that have a feature, in their order; no image is fetched for one."""
        if isinstance(representation, PooledStudies | WitnessedStudies):
            return representation.features_of(self.stores, self.id, tasks)
        digests = self.digests(tasks)
        own = representation.adapted
        parts = () if own is None else (self.workspace.backbone.dimension, own.backbone.dimension)
        ids, names = np.array(list(digests), dtype=np.int64), list(digests.values())
        if len(names) <= _HELD_WHOLE:
            found = representation.look_up(names)
            return FeaturedTasks(ids[found.places], found.rows, parts)
        rows = np.empty((len(names), sum(parts) or self.workspace.backbone.dimension), dtype=np.float16)
        kept: list[NDArray[np.int64]] = []
        count = 0
        for start in range(0, len(names), _PART):
            found = representation.look_up(names[start : start + _PART])
            rows[count : count + len(found.rows)] = found.rows
            kept.append(ids[start + found.places])
            count += len(found.rows)
        return FeaturedTasks(np.concatenate(kept), cast("NDArray[np.float32]", rows[:count]), parts)

    def look_up(
        self, features: ImageFeatures | Representation, requests: Sequence[ImageRequest], deadline: float
    ) -> Vectors:
        """Return the vector of each image, kept or made now; one that cannot be read before the deadline has none.

        Parameters
        ----------
        requests
            Tasks with the addresses of their images. Those that rounds have read are known by content.
        deadline
            By ``time.monotonic``.
        """
        images = self.stores.images.all(self.id, [one.task_id for one in requests if one.task_id is not None])
        known = {ImageRequest(image.task_id, image.uri): image.digest for image in images.values()}
        return features.look_up([known.get(request) for request in requests], requests, deadline)

    @property
    def installation(self) -> Installation:
        """Which of several this one is, with all that it published in the project."""
        versions = self.stores.rounds.versions(self.id)
        ours = frozenset({*versions, *map(on_demand_version, versions)})
        return Installation(installation_id(identity_of(self.stores.database)), ours)

    def require_alone(self) -> Project:
        """Make sure, by asking Label Studio now, that no other installation serves it, and return what it is there.

        Raises
        ------
        InstallationError
            When one does.
        """
        project = self.client.project(self.id)
        hooks = self.client.webhooks(self.id)
        self.installation.require_alone(project, hooks, self.workspace.settings.public_url)
        return project


def open_workspace(settings: Settings) -> Workspace:
    """Return what a process works with, once its database is opened and checked, which may take seconds."""
    return Workspace(settings, open_database(settings))


@lru_cache(maxsize=32)
def _load(folder: Path) -> tuple[LinearClassifier, CheckpointMetadata]:
    return load_checkpoint(folder)  # the folder of a version is written once
