"""Regions of predictions, in Label Studio's own form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.labelstudio.labeling.several_findings import region
from clinical_backend.multilabel import as_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme

__all__ = ["choice_result", "image_results", "text_result"]


def choice_result(scheme: LabelingScheme, label: str) -> list[dict[str, Any]]:
    """Return the regions of a prediction that gives a label; without a score, which would be read as a confidence.

    Parameters
    ----------
    scheme
        Of the project.
    label
        One of ``scheme.classes``, or a label of several findings where the config asks for these.

    Raises
    ------
    InvalidArgumentError
        When it does not fit the config: Label Studio would refuse the whole import.
    """
    if not scheme.has(label):
        raise InvalidArgumentError(
            "label",
            f"the labeling config has no {as_words(label)!r}.",
            f"Use of {', '.join(scheme.classes)}.",
        )
    if scheme.several is not None:
        return scheme.several.regions(label, scheme.image_name)
    return [region(scheme.class_control, scheme.image_name, "choices", [label])]


def image_results(scheme: LabelingScheme, labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the regions of a prediction that gives single images of a list a label each.

    Parameters
    ----------
    scheme
        Of a project whose readers answer so.
    labels
        By the image's place in the list, from 0.

    Raises
    ------
    InvalidArgumentError
        When one does not fit the config.
    """
    return [
        one | {"item_index": item} for item, label in sorted(labels.items()) for one in choice_result(scheme, label)
    ]


def text_result(scheme: LabelingScheme, text: str) -> list[dict[str, Any]]:
    """Return the regions of a prediction that writes a text into the reason control; none where there is none."""
    if scheme.reason_control is None:
        return []
    return [
        {
            "from_name": scheme.reason_control,
            "to_name": scheme.image_name,
            "type": "textarea",
            "value": {"text": [text]},
        }
    ]
