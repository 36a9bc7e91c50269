"""All stores over one database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.storage.stores.exemplar_labels import ExemplarLabelStore
from clinical_backend.storage.stores.images import ImageStore
from clinical_backend.storage.stores.labels import LabelStore
from clinical_backend.storage.stores.leases import LeaseStore
from clinical_backend.storage.stores.outside_exemplars import OutsideExemplarStore
from clinical_backend.storage.stores.page_tags import PageTagStore
from clinical_backend.storage.stores.phrasings import PhrasingStore
from clinical_backend.storage.stores.projects import ProjectStore
from clinical_backend.storage.stores.readings import ReadingStore
from clinical_backend.storage.stores.rounds import RoundStore
from clinical_backend.storage.stores.second_readings import SecondReadingStore
from clinical_backend.storage.stores.studies import StudyStore
from clinical_backend.storage.stores.testsets import TestsetStore
from clinical_backend.storage.stores.trail import TrailStore
from clinical_backend.storage.stores.troubles import TroubleStore

if TYPE_CHECKING:
    from clinical_backend.storage.database import Database

__all__ = ["Stores"]


class Stores:
    """All stores of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.projects = ProjectStore(database)
        self.rounds = RoundStore(database)
        self.images = ImageStore(database)
        self.studies = StudyStore(database)
        self.labels = LabelStore(database)
        self.troubles = TroubleStore(database)
        self.leases = LeaseStore(database)
        self.readings = ReadingStore(database)
        self.second_readings = SecondReadingStore(database)
        self.outside_exemplars = OutsideExemplarStore(database)
        self.exemplar_labels = ExemplarLabelStore(database)
        self.page_tags = PageTagStore(database)
        self.phrasings = PhrasingStore(database)
        self.trail = TrailStore(database)
        self.test_sets = TestsetStore(database)
