"""What a DICOM file with many frames says of one of them (PS3.3, C.7.6.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["TAGS", "of_frame"]

_EACH, _ALL = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
TAGS = (_EACH, _ALL)
"""The names of the tags that hold the groups."""


def of_frame(dataset: Dataset, frame: int, name: str) -> list[Dataset]:
    """Return the items of a functional group that hold for a frame: its own first, then that of all frames.

    Parameters
    ----------
    frame
        The number of the frame, from 0.
    name
        Of the group's sequence.
    """
    groups = [*(dataset.get(_EACH) or [])[frame : frame + 1], *(dataset.get(_ALL) or [])[:1]]
    return [item for group in groups for item in (group.get(name) or [])[:1]]
