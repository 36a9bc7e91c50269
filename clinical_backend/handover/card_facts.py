"""What a model card says beside its figures, as the project's stores tell it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

from clinical_backend.learner.backbones.presets import PRESETS
from clinical_backend.multilabel import findings_of
from clinical_backend.origins import Draw
from clinical_backend.workspace.finetuned import finetuned_in_use
from clinical_backend.workspace.project_options import named_classes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clinical_backend.handover.blind_cases import BlindCases
    from clinical_backend.handover.held_out_cases import HeldOutCases, Published
    from clinical_backend.origins import LedgerEntry
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["CardFacts", "Readings", "read_facts"]

_PACKAGED_LICENCE = "Apache-2.0"
"""Of the packages that the weights of the installation come in."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Who answered.

    Attributes
    ----------
    readers
        How many different ones.
    read_again
        Tasks that two or more of them answered.
    agreed
        Those of them on which all agree.
    """

    readers: int
    read_again: int
    agreed: int


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says of a model, its data and itself.

    Attributes
    ----------
    project, title
        Of the project.
    version, learnt_in
        The published version, and the round whose labels the classifier learnt from.
    network, licence, features, adaptation, answers
        The backbone, its licence, what identifies its features, how it was adapted, and what answers.
    threshold
        ``None``: the likeliest class is called.
    looked_for, classes
        What the queue seeks, and what the classifier knows.
    origins
        Labels by how they came about.
    counts
        By class or finding: labels that give it, and those of them that were drawn at random.
    rounds
        The first and the last round whose queue led to a label; ``None`` before any.
    days
        When the first and the last label was given, as dates (UTC); ``None`` without one.
    patients, patient_field
        Patients or studies that the labels are of, and the field that names them; ``None`` where none does.
    readings
        Who answered; ``None`` where Label Studio was not asked.
    judged
        What the figures are of.
    digests
        Sha256 by what it is of.
    versions
        Of the packages.
    command
        What made the card; ``None`` for the page.
    """

    project: int
    title: str | None
    version: str
    learnt_in: int
    network: str
    licence: str
    features: str
    adaptation: str
    answers: str
    threshold: float | None
    looked_for: tuple[str, ...]
    classes: tuple[str, ...]
    origins: Mapping[str, int]
    counts: Mapping[str, tuple[int, int]]
    rounds: tuple[int, int] | None
    days: tuple[str, str] | None
    patients: int | None
    patient_field: str | None
    readings: Readings | None
    judged: HeldOutCases | BlindCases
    digests: Mapping[str, str]
    versions: Mapping[str, str]
    command: str | None = None


def read_facts(
    project: ProjectWorkspace,
    published: Published,
    ledger: Sequence[LedgerEntry],
    judged: HeldOutCases | BlindCases,
    *,
    readings: Readings | None = None,
    digests: Mapping[str, str] | None = None,
    command: str | None = None,
) -> CardFacts:
    """Return what a card says of a project's published model.

    Parameters
    ----------
    readings, command
        As :class:`CardFacts` has them.
    digests
        Of files that the card is of, beside the model's parts.
    """
    row, settings = project.row, project.settings
    key, classifier = published.metadata.backbone, published.classifier
    workspace = project.workspace_that_made(key)
    spec, representation = workspace.spec, published.representation
    adapted = None if representation is None else representation.images.adapted
    finetuned = None if classifier.independent else finetuned_in_use(project, classifier.classes)
    parts = {"weights of the backbone": spec.weights_sha256, "classifier": classifier.digest}
    if adapted is not None:
        parts["adapted network"] = adapted.backbone.network.model_sha256
    numbers = [entry.round_number for entry in ledger if entry.round_number]
    moments = [one.labelled_at for one in project.stores.labels.all(project.id).values() if one.label is not None]
    groups = project.stores.images.groups(project.id, [entry.task_id for entry in ledger])
    alone = len(ledger) - len(groups)
    return CardFacts(
        project.id,
        None if row is None else row.title,
        published.version,
        published.metadata.round,
        " + ".join(spec.members) or spec.architecture,
        _licence(workspace.settings.backbone),
        key,
        _adaptation(published, None if adapted is None else adapted.backbone.network.images),
        _answers(finetuned is not None),
        judged.cases.threshold,
        () if row is None else named_classes(project.workspace.settings, row),
        judged.cases.classes,
        Counter(entry.in_words for entry in ledger),
        _counts(ledger, judged.cases.classes),
        (min(numbers), max(numbers)) if numbers else None,
        (_day(min(moments)), _day(max(moments))) if moments else None,
        len(set(groups.values())) + alone if settings.group_field else None,
        settings.group_field,
        readings,
        judged,
        {**parts, "cases that the figures are made of": judged.cases.digest, **(digests or {})},
        {name: version_of(name) for name in ("clinical-backend", "numpy", "scipy")},
        command,
    )


def _licence(backbone: str) -> str:
    known = {one.backbone: one.licence for one in PRESETS}
    if backbone.startswith("efficientnet_lite"):
        return _PACKAGED_LICENCE
    return known.get(backbone, "not known to this program: ask who published the network")


def _adaptation(published: Published, images: int | None) -> str:
    if published.representation is None:
        return "not known: the backbone is not at hand any more"
    if images is None:
        return "none: frozen features"
    return f"a small network that learnt {images:,} images of the project without labels, beside the frozen features"


def _answers(by_finetuned: bool) -> str:
    if by_finetuned:
        return "a fine-tuned network; the figures below are those of the head on features, which it was chosen over"
    return "a linear classifier of the features (the head)"


def _counts(ledger: Sequence[LedgerEntry], classes: Sequence[str]) -> dict[str, tuple[int, int]]:
    found: Counter[str] = Counter()
    drawn: Counter[str] = Counter()
    for entry in ledger:
        names = findings_of(entry.label)
        found.update(names)
        drawn.update(names if entry.draw is Draw.AUDIT else ())
    return {name: (found[name], drawn[name]) for name in [*classes, *sorted(set(found) - set(classes))]}


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"
