"""Acquisition: arrays in, indices and gains out. Nothing here knows Label Studio, HTTP or a database."""

from clinical_backend.acquisition.embedding import Embedding
from clinical_backend.acquisition.request import Selection
from clinical_backend.acquisition.selection import ACQUISITIONS, FUNCTIONS, NAMES, select, settable
from clinical_backend.acquisition.warm_up import warm_up

__all__ = ["ACQUISITIONS", "FUNCTIONS", "NAMES", "Embedding", "Selection", "select", "settable", "warm_up"]
