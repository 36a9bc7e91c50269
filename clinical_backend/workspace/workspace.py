"""What a process works with, and a project's part of it."""

from __future__ import annotations

import logging
import shutil
from functools import cached_property, lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from clinical_backend.errors import ClinicalError, ModelError
from clinical_backend.images.sources import ImageRequest
from clinical_backend.labelstudio.connection.installation import Installation
from clinical_backend.learner.adaptation.network import AdaptedBackbone, load_adapted
from clinical_backend.learner.backbones.base import is_of
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.learner.finetuning.network import FinetunedBackbone
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.settings import Settings, SettingsError
from clinical_backend.storage.opening import identity_of, open_database
from clinical_backend.versions import installation_id, on_demand_version
from clinical_backend.workspace.backbone_record import BackboneChoice, load_serving, serving_folder
from clinical_backend.workspace.components import Components, open_embedder
from clinical_backend.workspace.features import AdaptedFeatures, ImageFeatures, Representation, featured_tasks
from clinical_backend.workspace.finetuning_record import Finetuned, read_record
from clinical_backend.workspace.study_features import PooledStudies, WitnessedStudies
from clinical_backend.workspace.witness_files import load_witnesses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.resources import Project
    from clinical_backend.learner.checkpoint import CheckpointMetadata
    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.storage.schema import Project as ProjectRow
    from clinical_backend.strategy.tasks import FeaturedTasks
    from clinical_backend.workspace.features import Vectors

    Represented: TypeAlias = Representation | PooledStudies | WitnessedStudies

__all__ = ["ProjectWorkspace", "Workspace", "open_workspace"]

logger = logging.getLogger(__name__)

_PROJECTS = 1000
"""Projects whose networks stay loaded, at most: calls may name any number of them."""
_VARIANTS = 2
"""Backbones that stay loaded besides that of the settings: the one before, and for a while the one before that."""


class Workspace(Components):
    """What a process works with: made once, and handed to all that need it."""

    @cached_property
    def configured(self) -> Workspace:
        """The workspace as the process was configured; this one, unless it is a variant with another backbone."""
        return self

    @cached_property
    def project_as_set(self) -> Callable[[int], ProjectWorkspace]:
        """Returns a project's part with the backbone of these settings, whichever serves it."""
        return lru_cache(_PROJECTS)(partial(ProjectWorkspace, self))

    @cached_property
    def _variant(self) -> Callable[[BackboneChoice], Workspace]:
        return lru_cache(_VARIANTS)(self._make_variant)

    def close(self) -> None:
        """Close the database."""
        self.stores.database.close()

    def project(self, project_id: int) -> ProjectWorkspace:
        """Return a project's part, whether the project is served or not, with the backbone that serves it now.

        Until BACKBONE is changed, and for a while after, that is another one than the settings name. What is returned
        keeps its backbone: who works with a project for long, as a round does, is not disturbed by a change.
        """
        served = load_serving(serving_folder(self.settings, project_id))
        return self.with_backbone(served.choice if served else self.configured.choice).project_as_set(project_id)

    @property
    def choice(self) -> BackboneChoice:
        """How the settings name its backbone."""
        return BackboneChoice(self.settings.backbone, self.settings.image_size)

    def with_backbone(self, choice: BackboneChoice) -> Workspace:
        """Return the same with a backbone of this name, whose network is loaded when it is first needed."""
        if choice == self.choice:
            return self
        return self._variant(choice) if self.configured is self else self.configured.with_backbone(choice)

    def _make_variant(self, choice: BackboneChoice) -> Workspace:
        settings = self.settings.model_copy(update=choice._asdict())
        made = Workspace(settings, self.stores.database, shared=self)
        made.configured = self
        return made


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
        return self._laid_over(row.options | row.page_options if row else {})

    def settings_with(self, page_options: Mapping[str, Any]) -> Settings:
        """Return the settings that it would have if its page set these options.

        Raises
        ------
        SettingsError
            When an option has a value that cannot be worked with.
        """
        row = self.row
        return self._laid_over({**(row.options if row else {}), **page_options})

    def _laid_over(self, given: Mapping[str, Any]) -> Settings:
        try:
            options = ProjectOptions.model_validate(given)
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
    def serving_folder(self) -> Path:
        """Where is kept which backbone serves it."""
        return serving_folder(self.workspace.settings, self.id)

    @property
    def adaptation_folder(self) -> Path:
        """Where the network that is adapted to its images is kept."""
        return self.workspace.settings.model_dir / "adapted" / str(self.id)

    @property
    def finetuning_folder(self) -> Path:
        """Where its fine-tuned network and the record of that are kept."""
        return self.workspace.settings.model_dir / "finetuned" / str(self.id)

    @property
    def map_folder(self) -> Path:
        """Where its map is kept."""
        return self.workspace.settings.model_dir / "maps" / str(self.id)

    @property
    def import_folder(self) -> Path:
        """Where its imports keep each other out."""
        return self.workspace.settings.model_dir / "imports" / str(self.id)

    @property
    def settings_preview_folder(self) -> Path:
        """Where is kept what shows the effect of settings before they are saved."""
        return self.workspace.settings.model_dir / "settings-previews" / str(self.id)

    def forget_files(self) -> None:
        """Remove what is kept for its pages and imports alone; what cannot be removed is passed over, as it is gone."""
        for folder in (self.map_folder, self.settings_preview_folder, self.import_folder):
            shutil.rmtree(folder, ignore_errors=True)

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

        Where tasks have several images, by what is made of the features of these.
        """
        images = self._of_images()
        return self._of_studies(images) if self.stores.studies.any(self.id) else [*images]

    @property
    def frozen(self) -> Representation:
        """What images can be represented by whatever was learnt: the backbone's features alone."""
        return Representation(self.workspace.backbone.key, self.workspace.features)

    def _of_images(self) -> list[Representation]:
        """Return what images can be represented by: frozen features, and joined where a network is adapted to them."""
        frozen = self.frozen
        try:
            adapted = self.adapted()
        except ClinicalError as error:
            logger.warning("Project %d goes on with frozen features: %s", self.id, error)
            return [frozen]
        if adapted is None:
            return [frozen]
        return [frozen, Representation(f"{frozen.key}+{adapted.backbone.key}", frozen.frozen, adapted)]

    def _of_studies(self, images: Sequence[Representation]) -> list[Represented]:
        """Return what tasks of several images can be represented by: all together, or the one that decides."""
        pooled = [self._pooled(one) for one in images]
        row = self.row
        if row is None or row.published_version is None:
            return [*pooled]
        try:
            found = load_witnesses(self.checkpoint_folder(row.published_version), images)
        except ModelError as error:
            logger.warning("Project %d goes on with all images of its tasks together: %s", self.id, error)
            return [*pooled]
        return [*pooled] if found is None else [*pooled, found]

    def _pooled(self, images: Representation) -> PooledStudies:
        key = f"{images.key}+pooled"
        return PooledStudies(key, images, self.workspace.feature_store(key, 2 * images.dimension))

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
        for representation in chain(self.representations(), self._of_other_backbones(version)):
            if representation.key == metadata.backbone:
                return classifier, representation
        logger.warning("Project %d predicts nothing until its next round: the backbone was changed", self.id)
        return None

    def _of_other_backbones(self, version: str) -> Iterator[Represented]:
        """Yield what other backbones than the one that serves make, for a model that was published with one of them.

        That is the one before, and of a model that was gone back to the one that its round worked with.
        """
        served = load_serving(self.serving_folder)
        made_with = self.stores.rounds.report_of(self.id, version).recipe.settings
        others = [served.replaced if served is not None else None]
        if "backbone" in made_with:
            others.append(BackboneChoice(str(made_with["backbone"]), made_with.get("image_size")))
        for choice in dict.fromkeys(filter(None, others)):
            try:
                yield from self.workspace.with_backbone(choice).project_as_set(self.id).representations()
            except ModelError as error:
                logger.warning("Project %d: the earlier backbone %s cannot be used: %s", self.id, choice, error)

    def workspace_that_made(self, key: str) -> Workspace:
        """Return what works with the backbone of some features: the one that serves, or the one before it."""
        served = load_serving(self.serving_folder)
        if not is_of(self.workspace.spec.key, key) and served is not None and served.replaced is not None:
            return self.workspace.with_backbone(served.replaced)
        return self.workspace

    def digests(self, tasks: Iterable[int] | None = None) -> dict[int, str]:
        """Return what identifies the image of each task that was read, in the order of the tasks; of all by default."""
        wanted = None if tasks is None else list(tasks)
        digests = self.stores.images.digests(self.id, wanted)
        return digests if wanted is None else {task: digests[task] for task in wanted if task in digests}

    def features_of(self, representation: Represented, tasks: Iterable[int]) -> FeaturedTasks:
        """Return those of the tasks that have a feature, in their order; no image is fetched for one."""
        if isinstance(representation, PooledStudies | WitnessedStudies):
            return representation.features_of(self.stores, self.id, tasks)
        return featured_tasks(representation, self.digests(tasks))

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
