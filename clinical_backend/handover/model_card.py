"""A project's model card: Markdown, one page that prints, and its figures to full precision."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.findings.performance import LEAST_CASES, measure
from clinical_backend.handover.blind_cases import blind_cases
from clinical_backend.handover.card_facts import Readings, read_facts
from clinical_backend.handover.card_text import card_document
from clinical_backend.handover.delivery import delivered, require_place
from clinical_backend.handover.held_out_cases import read_held_out_cases, read_published
from clinical_backend.labelstudio.labeling.fields import lookup
from clinical_backend.labelstudio.labeling.labels import readers_answers
from clinical_backend.learner.artifact import file_sha256
from clinical_backend.rounds.blind_scores import judged_test_set
from clinical_backend.rounds.sync import synchronise
from clinical_backend.storage.trail import TrailAction
from clinical_backend.workspace.controls import scheme_of
from clinical_backend.workspace.lock import leased_project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from clinical_backend.findings.cases import Value
    from clinical_backend.findings.performance import Performance
    from clinical_backend.handover.blind_cases import BlindCases
    from clinical_backend.handover.card_facts import CardFacts
    from clinical_backend.handover.document import Document
    from clinical_backend.handover.held_out_cases import HeldOutCases, Published
    from clinical_backend.workspace.workspace import ProjectWorkspace

    Show = Callable[[int, int | None], None]

__all__ = ["CARD", "FIGURES", "PAGE", "CardOptions", "ModelCard", "make_card", "write_card"]

CARD, PAGE, FIGURES = "MODEL_CARD.md", "model-card.html", "figures.json"
_AT_ONCE = 1000
"""Tasks that are held with all their answers: some MB."""
_WAIT_SECONDS = 5.0
"""For another process that works at the project, as an export waits."""


@dataclass(frozen=True, slots=True)
class CardOptions:
    """What a card is to say.

    Attributes
    ----------
    fields
        Fields of the tasks' data that subgroups are made of.
    intended_use, limits
        In the lead's own words.
    seed
        Of the resampling.
    command
        What was asked for, as the card repeats it.
    digests
        Of files that the card is of, beside the model's parts.
    """

    fields: tuple[str, ...] = ()
    intended_use: str | None = None
    limits: str | None = None
    seed: int = 0
    command: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A card.

    Attributes
    ----------
    facts, performance
        What it says.
    document
        Its text.
    """

    facts: CardFacts
    performance: Performance
    document: Document

    def markdown(self) -> str:
        """Return it with the front matter that the Hugging Face Hub reads."""
        front = {
            "library_name": "onnx",
            "pipeline_tag": "image-classification",
            "tags": ["clinical-backend", "medical"],
            "metrics": ["average_precision", "recall", "specificity", "brier_score"],
            "model_version": self.facts.version,
        }
        # JSON is YAML, and quotes what would mean something in it.
        lines = [f"{name}: {json.dumps(value)}" for name, value in front.items()]
        return "\n".join(["---", *lines, "---", "", self.document.markdown()])

    def figures(self) -> dict[str, Any]:
        """Return every figure with its interval and counts, as JSON has them, to full precision."""
        judged = self.facts.judged
        resampling = self.performance.resampling
        return {
            "project": self.facts.project,
            "model_version": self.facts.version,
            "source": judged.cases.source,
            "weighted": judged.cases.weights is not None,
            "threshold": judged.cases.threshold,
            "cases": len(judged.cases),
            "counts": dict(judged.counts),
            "interval": 0.95,
            "replications": resampling.replications,
            "seed": resampling.seed,
            "balanced_accuracy": None
            if self.performance.balanced_accuracy is None
            else asdict(self.performance.balanced_accuracy),
            "brier_score": None if self.performance.brier_score is None else asdict(self.performance.brier_score),
            "classes": [asdict(one) for one in self.performance.classes],
            "reliability": {name: [asdict(one) for one in bins] for name, bins in self.performance.reliability.items()},
            "subgroups": [asdict(one) for one in self.performance.subgroups],
            "sha256": dict(self.facts.digests),
        }


def make_card(
    project: ProjectWorkspace,
    options: CardOptions,
    *,
    ask: bool = True,
    show: Show = lambda _done, _total: None,
) -> ModelCard:
    """Return the card of a project's published model, by the labels that its stores hold.

    Where a test set was set aside and ten cases of it are read, the figures are of these alone.

    Parameters
    ----------
    project, options
        What it is of, and what it is to say.
    ask
        Whether Label Studio is asked for the readers; for fields it is in any case, but for the site, which rounds
        keep.
    show
        Is told how many tasks are read, of how many.

    Raises
    ------
    ModelError
        When there is no published model, or nothing judges it.
    InvalidArgumentError
        When no judged task has one of the fields.
    """
    published = read_published(project)
    ledger = project.stores.labels.ledger(project.id)
    aside = judged_test_set(project)
    aside = aside if aside is not None and len(aside.tasks) >= LEAST_CASES else None
    labelled = [entry.task_id for entry in ledger]
    tasks = labelled if aside is None else sorted({*labelled, *aside.tasks.tolist()})
    fields, readings = _stored_fields(project, options.fields, tasks), None
    missing = [name for name in options.fields if name not in fields]
    if ask or missing:
        asked, readings = _answers(project, missing, tasks, show)
        fields |= asked
    chosen = {name: fields[name] for name in options.fields}
    judged = read_held_out_cases(project, published, ledger, chosen) if aside is None else blind_cases(aside, chosen)
    _require_values(judged)
    performance = measure(judged.cases, seed=options.seed)
    facts = read_facts(
        project, published, ledger, judged, readings=readings, digests=options.digests, command=options.command
    )
    document = card_document(facts, performance, intended_use=options.intended_use, limits=options.limits)
    return ModelCard(facts, performance, document)


def write_card(
    project: ProjectWorkspace,
    options: CardOptions,
    out: Path,
    *,
    model: Path | None = None,
    show: Show = lambda _done, _total: None,
) -> ModelCard:
    """Read a project back from Label Studio, and write its card to a folder, all of it or nothing.

    Parameters
    ----------
    model
        The file that the published model was exported to: the card names its digest.
    out
        The folder, as :func:`require_place` has it.

    Raises
    ------
    ModelError
        As :func:`make_card`, or when the file is not of the published model.
    InvalidArgumentError
        As :func:`make_card`, or when the folder cannot be made.
    ProjectBusyError
        When a round runs.
    StorageError
        When the folder cannot be written.
    """
    require_place(out)
    if model is not None:
        options = replace(options, digests={**options.digests, **_digests_of(model, read_published(project), project)})
    with leased_project(project, seconds=_WAIT_SECONDS):
        synchronise(project)
    card = make_card(project, options, show=show)
    with delivered(out) as delivery:
        delivery.write(CARD, card.markdown().encode(errors="backslashreplace"))
        delivery.write(PAGE, card.document.html().encode(errors="backslashreplace"))
        figures = json.dumps(card.figures(), indent=1, ensure_ascii=True, allow_nan=False)
        delivery.write(FIGURES, f"{figures}\n".encode())
        # Before the folder appears, so that none is handed over of which the trail does not tell.
        told = {"fields": list(options.fields), "sha256sums": delivery.digest()}
        project.stores.trail.append(TrailAction.CARD_WRITTEN, project.id, **told)
    return card


def _digests_of(file: Path, published: Published, project: ProjectWorkspace) -> dict[str, str]:
    from clinical_backend.learner.portable.portable_model import PortableModel  # noqa: PLC0415 (loads ONNX Runtime)

    said = PortableModel.read(file).description
    if (said.get("project"), said.get("model_version")) != (project.id, published.version):
        raise ModelError(
            f"{file.name} is of project {said.get('project')}, {said.get('model_version')}; published is"
            f" {published.version} of project {project.id}.",
            "Export the model again by `clinical export-model`, and make the card of that file.",
        )
    parts = {f"{name} (in the file)": digest for name, digest in said["parts"].items()}
    return {f"exported model {file.name}": file_sha256(file), **parts}


def _stored_fields(
    project: ProjectWorkspace, fields: Sequence[str], tasks: Sequence[int]
) -> dict[str, Mapping[int, Value]]:
    """Return what is kept of the tasks' data: the site, if it is one of the fields and rounds have read it."""
    row = project.row
    site = None if row is None else row.sited_by
    return {name: project.stores.images.sites(project.id, tasks) for name in fields if name == site}


def _answers(
    project: ProjectWorkspace, fields: Sequence[str], tasks: Sequence[int], show: Show
) -> tuple[dict[str, dict[int, Value]], Readings | None]:
    """Return what Label Studio says in some fields of labelled tasks, and who answered them."""
    values: dict[str, dict[int, Value]] = {name: {} for name in fields}
    scheme = scheme_of(project)
    readers: set[int] = set()
    again = agreed = 0
    for start in range(0, len(tasks), _AT_ONCE):
        for task in project.client.tasks_with_answers(project.id, tasks[start : start + _AT_ONCE]):
            answers = () if scheme is None else readers_answers(scheme, task)
            readers.update(reader for reader, _ in answers)
            again += len(answers) > 1
            agreed += len(answers) > 1 and len({label for _, label in answers}) == 1
            for name in fields:
                said = lookup(task.data, name)
                values[name][task.id] = said if isinstance(said, str | int | float) else None
        show(min(start + _AT_ONCE, len(tasks)), len(tasks))
    return values, None if scheme is None else Readings(len(readers), again, agreed)


def _require_values(judged: HeldOutCases | BlindCases) -> None:
    absent = [name for name, values in judged.cases.fields.items() if all(one is None for one in values)]
    if absent:
        raise InvalidArgumentError(
            "--field", f"no judged task has a value in {', '.join(absent)}.", "Name fields of the tasks' data."
        )
