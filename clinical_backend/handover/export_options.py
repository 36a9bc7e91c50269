"""What may be chosen of a data set that is handed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ExportOptions", "Form", "Images"]

Form = Literal["csv", "coco", "imagefolder", "label-studio"]
Images = Literal["none", "reference", "copy"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the lead chose to hand over, and how.

    Attributes
    ----------
    form
        The format.
    images
        Whether the images' addresses are written, or the images themselves, or neither.
    fields
        Fields of the tasks' data.
    with_ids
        Whether readers are named by Label Studio's ids; else by pseudonyms.
    validation, test
        Shares of the tasks.
    seed
        Of the splits.
    """

    form: Form
    images: Images = "none"
    fields: tuple[str, ...] = ()
    with_ids: bool = False
    validation: float = 0.15
    test: float = 0.15
    seed: int = 0
