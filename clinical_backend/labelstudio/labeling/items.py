"""Answers about single images of a list (``perItem``), and what they say of the task that shows it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.labeling.several_findings import is_no_finding
from clinical_backend.multilabel import is_multilabel, majority

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from clinical_backend.labelstudio.resources import Annotation

__all__ = ["agreed", "completed_by_others", "deciding_order", "item_of", "parts_of"]


def item_of(region: Mapping[str, object]) -> int | None:
    """Return the place in the list of the image that a region is about; ``None`` where it names none."""
    place = region.get("item_index")
    return place if isinstance(place, int) and not isinstance(place, bool) and place >= 0 else None


def parts_of(annotation: Annotation, controls: Collection[str]) -> dict[int | None, Annotation]:
    """Return what an answer holds in some controls, image by image.

    Returns
    -------
    dict
        By place in the list, an answer with the regions of that image alone; those that name no image under ``None``.
    """
    regions: dict[int | None, list[dict[str, object]]] = {}
    for region in annotation.result:
        if region.get("from_name") in controls:
            regions.setdefault(item_of(region), []).append(region)
    return {item: annotation.model_copy(update={"result": found}) for item, found in regions.items()}


def deciding_order(classes: Sequence[str], named: Collection[str], counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return classes in the order in which one of them decides what a task with images of several is.

    First those that are looked for by name, last those that say that there is no finding; among equals the one that
    fewest images have, and of equally many the one that the labeling config lists first.

    Parameters
    ----------
    counts
        How many images readers gave each class.
    """
    return tuple(
        sorted(classes, key=lambda name: (name not in named, is_no_finding(name), counts.get(name, 0)))  # stable
    )


def agreed(answers: Iterable[Mapping[int, str]]) -> dict[int, str]:
    """Return the label of each image on which its readers agree, by its place in the list.

    It is that of most, or what most say of each of several findings.
    """
    votes: dict[int, list[str]] = {}
    for answer in answers:
        for item, label in answer.items():
            votes.setdefault(item, []).append(label)
    found = {}
    for item, labels in votes.items():
        if is_multilabel(labels[0]):
            found[item] = majority(labels)
            continue
        (first, most), *others = Counter(labels).most_common(2)
        if not others or others[0][1] < most:
            found[item] = first
    return found


def completed_by_others(
    answers: Sequence[Annotation], said: Sequence[Mapping[int, str]], controls: Collection[str]
) -> list[Annotation]:
    """Return answers to a task of which each holds also what the others agree on of images that it leaves open.

    So who answers another image contradicts nobody. An answer about the task, or about none of its images, stays as it
    is.

    Parameters
    ----------
    said
        The label that each answer gives to images, by place in the list.
    controls
        Those that are learnt.
    """
    common = agreed(said)
    parts = [parts_of(each, controls) for each in answers]
    completed = []
    for answer, own, says in zip(answers, parts, said, strict=True):
        more: list[dict[str, object]] = []
        for item, label in common.items():
            if says and None not in own and item not in own:
                more += next(
                    other[item].result for other, its in zip(parts, said, strict=True) if its.get(item) == label
                )
        completed.append(answer.model_copy(update={"result": [*answer.result, *more]}) if more else answer)
    return completed
