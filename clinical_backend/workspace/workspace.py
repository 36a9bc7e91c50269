"""What rounds work with: the client, the stores, the backbone, made once per process when first needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from clinical_backend.learner.adaptation.network import AdaptedBackbone, load_adapted
from clinical_backend.learner.backbones.preprocessing import PREPROCESSING
from clinical_backend.learner.finetuning.network import FinetunedBackbone
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.settings import Settings, SettingsError
from clinical_backend.storage.features import FeatureStore
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.workspace.embedding import THUMBNAIL, Cluster
from clinical_backend.workspace.finetuning_record import Finetuned, read_record
from clinical_backend.workspace.tools import Tools, station

if TYPE_CHECKING:
    from pathlib import Path

    from clinical_backend.storage.database import Database

__all__ = ["Adapted", "Workspace"]


@dataclass(frozen=True, slots=True)
class Adapted:
    """A network that is adapted to a project's images, and the features that it made so far."""

    backbone: AdaptedBackbone
    features: FeatureStore


class Workspace(Tools):
    """What rounds and predictions work with.

    Parameters
    ----------
    settings
        Of the backend.
    database
        Its state.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__(settings)
        self.stores = Stores(database)
        self._database = database
        self.rests_until: dict[int, float] = {}
        """Until when the hosts of a project's images are left alone, by ``time.monotonic``: they answer slowly."""
        self._adapted: dict[int, Adapted] = {}
        self._finetuned: dict[int, Finetuned] = {}

    @property
    def cluster(self) -> Cluster | None:
        """The Ray cluster that embeds many new images; ``None`` without one."""
        if self.settings.ray_address is None:
            return None
        make = partial(station, self.settings)
        return Cluster(self.settings.ray_address, self.settings.ray_min_images, make)

    @cached_property
    def features(self) -> FeatureStore:
        """The features that the backbone made so far."""
        return FeatureStore(
            self._database,
            self.settings.model_dir / "features",
            backbone=self.backbone.key,
            dimension=self.backbone.dimension,
        )

    @cached_property
    def thumbnails(self) -> FeatureStore:
        """Small pixels of the images that were embedded, for adaptation: shape (n, THUMBNAIL² × 3), uint8."""
        return FeatureStore(
            self._database,
            self.settings.model_dir / "features",
            backbone=f"thumbnails-{THUMBNAIL}-{PREPROCESSING}",
            dimension=THUMBNAIL * THUMBNAIL * 3,
            dtype=np.uint8,
        )

    def adaptation_folder(self, project_id: int) -> Path:
        """Return where the network that is adapted to a project's images is kept."""
        return self.settings.model_dir / "adapted" / str(project_id)

    def adapted(self, project_id: int) -> Adapted | None:
        """Return the network that is adapted to a project's images; ``None`` where there is none, or it is off."""
        folder = self.adaptation_folder(project_id)
        if self.settings.adaptation == "off" or not (folder / "adapted.json").is_file():
            return None
        network = load_adapted(folder)
        known = self._adapted.get(project_id)
        if known is None or known.backbone.network != network:
            backbone = AdaptedBackbone(folder)
            store = FeatureStore(
                self._database,
                self.settings.model_dir / "features",
                backbone=backbone.key,
                dimension=backbone.dimension,
            )
            known = self._adapted[project_id] = Adapted(backbone, store)
        return known

    def finetuning_folder(self, project_id: int) -> Path:
        """Return where a project's fine-tuned network and its record are kept."""
        return self.settings.model_dir / "finetuned" / str(project_id)

    def finetuned(self, project_id: int) -> Finetuned | None:
        """Return the fine-tuned network that a project uses; ``None`` where the head is better, or not yet worse.

        Raises
        ------
        ModelError
            When its files are missing or were changed.
        """
        folder = self.finetuning_folder(project_id)
        record = read_record(folder)
        if record is None or record.network is None or record.backbone != self.spec.key:
            return None
        known = self._finetuned.get(project_id)
        if known is None or known.name != record.network:
            backbone = FinetunedBackbone(folder / record.network)
            store = FeatureStore(
                self._database,
                self.settings.model_dir / "features",
                backbone=f"probabilities-{record.network}",
                dimension=len(backbone.head.classes),
            )
            known = Finetuned(record.network, backbone, self.embedder_of(backbone), store)
            self._finetuned[project_id] = known
        return known

    def checkpoint_folder(self, project_id: int, version: str) -> Path:
        """Return where the classifier of a round is kept."""
        return self.settings.model_dir / "checkpoints" / str(project_id) / version

    def settings_of(self, project_id: int) -> Settings:
        """Return the settings with the project's own options laid over them.

        Raises
        ------
        SettingsError
            When an option has a value that cannot be worked with.
        """
        project = self.stores.projects.get(project_id)
        given = project.options | project.page_options if project else {}
        try:
            options = ProjectOptions.model_validate(given)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise SettingsError(
                f"The extra parameters of project {project_id} are wrong: {wrong}.",
                "Correct them on the project's page, or in its settings in Label Studio, under Model.",
            ) from None
        return self.settings.for_project(options)
