"""What is simulated: how rare, how many, from which start. A seed draws the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.datasets import LabelledImages

__all__ = ["PROTOCOLS", "Draw", "Protocol", "draw", "protocols_of"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """A setting of the simulation.

    Attributes
    ----------
    dataset
        Name or path of the labelled set.
    rare_classes
        Their names; empty for the `rare_count` smallest classes of the set.
    rare_count
        How many classes are rare where none is named.
    rare_share
        Share of the pool that all rare classes have together, each the same.
    pool
        Images in the pool at the start, fewer where the set is smaller.
    exemplars
        Exemplars that the reader tags at the start, of each rare class.
    slips
        So many of these are cases of common classes, drawn at random, that were tagged by a slip.
    named
        Whether the lead names the rare classes at the start. Otherwise tags alone tell what is looked for.
    initial
        Labels at the start beside them, drawn at random from the pool.
    common
        Labels at the start of common cases, beside the pool.
    validation
        Cases of each rare class beside the pool that nobody learns from. Those that the classifier gets wrong are the
        query set, in place of the exemplars.
    labels
        Labels that the reader then gives.
    batch
        Labels between two rounds.
    audit_share
        Share of the queue that is drawn at random.
    label_noise
        Share of the labels, but for the exemplars', that are of another class, any of them alike.
    images
        Images of each task. Of more than one, tasks are bags that are drawn from the set: it holds single images.
    rare_images
        How many images of a rare task are of its rare class.
    """

    dataset: str
    rare_classes: tuple[str, ...] = ()
    rare_count: int = 1
    rare_share: float = 0.02
    pool: int = 5000
    exemplars: int = 5
    slips: int = 0
    named: bool = False
    initial: int = 0
    common: int = 0
    validation: int = 0
    labels: int = 300
    batch: int = 20
    audit_share: float = 0.0
    label_noise: float = 0.0
    images: int = 1
    rare_images: int = 1


_BLOOD = Protocol("bloodmnist", rare_count=2)
_CHEST = Protocol("chest_xray_128", rare_classes=("NORMAL",))
_SKIN = Protocol("ham10000", rare_classes=("df", "vasc"), pool=4000)
_TRUST = Protocol(
    "chest_xray_128",
    rare_classes=("PNEUMONIA",),
    rare_share=53 / 1103,
    pool=1103,
    exemplars=5,
    common=100,
    validation=20,
    labels=20,
    batch=20,
)
"""That of TRUST's notebook of rare classes on PneumoniaMNIST (decile-team/trust): 100 and 5 labels, 1,050 and 53 images
in the pool, 20 labels in one go, and the 624 test images of the same X-rays. Its query set, the misclassified of 20
validation images of each class, held no common one; here none can be in it. The live round, which knows no query set
beside exemplars, goes by the 5 rare labels."""
_RARE_CELLS = ("monocyte", "eosinophil", "platelet", "lymphocyte", "basophil")
"""From what the features of a mosaic show well to what they hardly show (docs/finding-power.md)."""


def _of_mosaics(*rare: str, **changes: Any) -> Protocol:
    return Protocol(f"mosaics:{','.join(rare)}", rare_classes=rare, rare_share=0.02 * len(rare), named=True, **changes)


_BAGS = Protocol("bloodmnist", rare_share=0.05, pool=2000, exemplars=10, labels=100, images=16)
_BREAST = Protocol("breastmnist", rare_classes=("malignant",), rare_share=0.05, labels=100)

PROTOCOLS = {
    "blood": _BLOOD,
    "blood-1%": replace(_BLOOD, rare_share=0.01),
    "blood-5%": replace(_BLOOD, rare_share=0.05, pool=4000),
    "blood-one": replace(_BLOOD, exemplars=1),
    "blood-cold": replace(_BLOOD, exemplars=0),
    "blood-named": replace(_BLOOD, exemplars=0, named=True),
    "blood-slip": replace(_BLOOD, slips=1),
    "blood-slip-named": replace(_BLOOD, slips=1, named=True),
    "blood-warm": replace(_BLOOD, initial=100, batch=50),
    "blood-tiny": replace(_BLOOD, rare_share=0.002),
    "blood-other": replace(_BLOOD, rare_classes=("erythroblast", "monocyte")),
    "blood-binary": replace(_BLOOD, rare_classes=("immature granulocyte",), rare_count=1),
    "bags": _BAGS,
    "bags-five": replace(_BAGS, exemplars=5),
    "bags-2%": replace(_BAGS, rare_share=0.02),
    "bags-other": replace(_BAGS, rare_classes=("erythroblast",)),
    "bags-all": replace(_BAGS, rare_images=16, rare_share=0.02),
    "chest": _CHEST,
    "chest-1%": replace(_CHEST, rare_share=0.01),
    "chest-5%": replace(_CHEST, rare_share=0.05),
    "chest-one": replace(_CHEST, exemplars=1),
    "chest-cold": replace(_CHEST, exemplars=0),
    "chest-named": replace(_CHEST, exemplars=0, named=True),
    "chest-slip": replace(_CHEST, slips=1),
    "chest-slip-named": replace(_CHEST, slips=1, named=True),
    "chest-warm": replace(_CHEST, initial=100, batch=50),
    "chest-distil": replace(
        _CHEST, rare_classes=("PNEUMONIA",), rare_share=0.01, exemplars=2, initial=200, batch=20, labels=100
    ),
    "skin": _SKIN,
    "skin-one": replace(_SKIN, exemplars=1),
    "skin-mel": replace(_SKIN, rare_classes=("mel",)),
    "skin-bcc": replace(_SKIN, rare_classes=("bcc",)),
    "skin-akiec": replace(_SKIN, rare_classes=("akiec",)),
    "skin-three": replace(_SKIN, rare_classes=("df", "vasc", "bcc"), rare_share=0.03),
    "skin-tiny": replace(_SKIN, rare_classes=("vasc",), rare_share=0.0025),
    "skin-shipped": replace(_SKIN, audit_share=0.1, batch=10),
    "skin-slip": replace(_SKIN, slips=1),
    "skin-slip-named": replace(_SKIN, slips=1, named=True),
    "trust": _TRUST,
    "mosaic": _of_mosaics(*_RARE_CELLS[:2], labels=100),
    "mosaic-first": replace(_of_mosaics(*_RARE_CELLS[:2], labels=50), rare_classes=(_RARE_CELLS[0],), rare_share=0.02),
    "mosaic-second": replace(_of_mosaics(*_RARE_CELLS[:2], labels=50), rare_classes=(_RARE_CELLS[1],), rare_share=0.02),
    "mosaic-hard": _of_mosaics("basophil", "immature granulocyte", labels=100),
    "mosaic-five": _of_mosaics(*_RARE_CELLS, labels=250),
    "breast": _BREAST,
    "breast-one": replace(_BREAST, exemplars=1),
    "breast-cold": replace(_BREAST, exemplars=0),
    "breast-named": replace(_BREAST, exemplars=0, named=True),
    "breast-warm": replace(_BREAST, initial=50, batch=20),
}
"""The settings of the report, by name."""


def protocols_of(sets: Sequence[str], changes: Mapping[str, Any]) -> dict[str, Protocol]:
    """Return the settings of these names or labelled sets, with the same changes made to each."""
    return {name: replace(PROTOCOLS.get(name) or Protocol(name), **changes) for name in sets}


@dataclass(frozen=True, slots=True)
class Draw:
    """What a seed makes of a protocol; all are indices into the labelled set.

    Attributes
    ----------
    pool
        All images that the project holds, labelled at the start or not, in random order.
    exemplars
        Those that are tagged at the start, slips among them.
    initial
        Those that are labelled at the start beside them.
    validation
        Those of rare classes that nobody learns from, and of which the misclassified are the query set.
    test
        Held out, to measure the classifier.
    rare_classes
        Names of the rare classes.
    """

    pool: NDArray[np.int64]
    exemplars: NDArray[np.int64]
    initial: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    rare_classes: tuple[str, ...]


def draw(protocol: Protocol, data: LabelledImages, seed: int) -> Draw:
    """Draw a project: the pool with its rare share, and what is labelled at the start.

    The exemplars come on top, and so do labels of common cases and validation images: a seed draws the same pool for
    every start, and the same exemplars but for the slips, for which a set that is taken whole gives up as many common
    cases.

    Raises
    ------
    InvalidArgumentError
        When the set has no such class, or too few images of one.
    """
    generator = np.random.default_rng(seed)
    available = np.flatnonzero(~data.held_out)
    rare_classes = protocol.rare_classes or _smallest(data, protocol.rare_count)
    if unknown := [name for name in rare_classes if name not in data.classes]:
        raise InvalidArgumentError(
            "rare_classes",
            f"the set {data.name} has no class {unknown[0]!r}.",
            f"Choose of: {', '.join(data.classes)}.",
        )
    members_of = {name: data.members(name)[available] for name in rare_classes}
    common = available[~np.logical_or.reduce([*members_of.values()])]
    common_share = 1.0 - protocol.rare_share
    if common_share <= 0:
        raise InvalidArgumentError("rare_share", f"{protocol.rare_share:.0%} leave nothing common.", "Give less.")
    beside = protocol.slips * len(rare_classes) + protocol.common
    size = min(protocol.pool, int((len(common) - beside) / common_share))
    of_each = max(1, round(protocol.rare_share * size / len(rare_classes)))
    exemplars: list[NDArray[np.int64]] = []
    members: list[NDArray[np.int64]] = []
    validation: list[NDArray[np.int64]] = []
    for name in rare_classes:
        of_class = available[members_of[name]]
        if data.shows is not None:  # a case of two findings stands in the project once
            of_class = np.setdiff1d(of_class, np.concatenate([*members, *exemplars, np.empty(0, dtype=np.int64)]))
        cases = generator.permutation(of_class)
        if len(cases) < protocol.exemplars + of_each + protocol.validation:
            raise InvalidArgumentError(
                "rare_share",
                f"{of_each} cases, {protocol.exemplars} exemplars and {protocol.validation} images for validation of "
                f"{name!r} are wanted and {len(cases)} are there.",
                "Take a smaller pool, a smaller share or fewer exemplars.",
            )
        members.append(cases[:of_each])
        exemplars.append(cases[of_each : of_each + protocol.exemplars - protocol.slips])
        validation.append(cases[len(cases) - protocol.validation :])
    cases, of_common = generator.permutation(common), round(common_share * size)
    members.append(cases[:of_common])
    exemplars.append(cases[of_common : of_common + protocol.slips * len(rare_classes)])
    labelled = cases[of_common + protocol.slips * len(rare_classes) : of_common + beside]
    pool = generator.permutation(np.concatenate(members))
    initial = np.concatenate([pool[: protocol.initial], labelled])
    return Draw(
        generator.permutation(np.concatenate([*exemplars, labelled, pool])).astype(np.int64),
        np.concatenate(exemplars).astype(np.int64),
        initial.astype(np.int64),
        np.concatenate(validation).astype(np.int64),
        np.flatnonzero(data.held_out),
        tuple(rare_classes),
    )


def _smallest(data: LabelledImages, count: int) -> tuple[str, ...]:
    counts = np.array([np.sum(data.members(name) & ~data.held_out) for name in data.classes])
    return tuple(data.classes[code] for code in np.argsort(counts, kind="stable")[:count])
