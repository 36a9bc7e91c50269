"""How good the published classifier is, as its round measured."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from clinical_backend.strategy.evaluation import Evaluation

if TYPE_CHECKING:
    from clinical_backend.storage.stores.stores import Stores

__all__ = ["read_evaluation"]


def read_evaluation(stores: Stores, project_id: int) -> Evaluation | None:
    """Return the evaluation of the published classifier; ``None`` while too few labels judge one."""
    published = stores.rounds.published(project_id)
    found = published.report.get("evaluation") if published else None
    if found is None:
        return None
    known = {one.name: found[one.name] for one in fields(Evaluation)}
    return Evaluation(**{**known, "classes": tuple(found["classes"])})
