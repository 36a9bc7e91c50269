"""What the queue of a round was made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Model and settings of a queue; empty in reports of earlier versions.

    Attributes
    ----------
    settings
        Every setting that a queue depends on, as it held.
    model_round
        The round in which its model was learnt; ``None`` without one.
    model_sha256
        Of the model's weights.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    model_round: int | None = None
    model_sha256: str | None = None

    @property
    def settings_sha256(self) -> str:
        """Digest of the settings as canonical JSON."""
        text = json.dumps(dict(self.settings), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
