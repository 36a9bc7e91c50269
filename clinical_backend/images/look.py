"""What is found at an image's address when it is looked at."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Look"]


@dataclass(frozen=True, slots=True)
class Look:
    """What is found at an address.

    Attributes
    ----------
    content
        The bytes; ``None`` where the mark of an earlier look says that they are the same.
    mark
        What tells next time that they are the same, as the host gave it; ``None`` where it gives nothing.
    """

    content: bytes | None
    mark: str | None
