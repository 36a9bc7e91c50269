"""What a data set is, how it was collected and what it must not be taken for, as Markdown.

The questions are those of "Datasheets for Datasets" (Gebru et al., Communications of the ACM 64, 2021), as far as the
project answers them.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from clinical_backend.handover.markdown import code, safe, table
from clinical_backend.multilabel import findings_of
from clinical_backend.origins import NOTHING_SHOWN, UNKNOWN_SHOWN, Draw
from clinical_backend.strategy.splits import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.findings.interval import Interval
    from clinical_backend.handover.records import Collection, Record

__all__ = ["Datasheet"]

_SHOWN = {NOTHING_SHOWN: "nothing: a blank form", UNKNOWN_SHOWN: "not known"}
_TICKED = "a class that the model predicted"
_IMAGES = {
    "none": "No image and no address of one is included; `task` is Label Studio's id, `sha256` that of the bytes.",
    "reference": "The images' addresses are included, and not the images. An address may name a patient: look at them.",
    "copy": "The images are included as PNG: 8-bit RGB as the backend decodes them, without any header. What is"
    " written into the pixels themselves is still there.",
}


class Datasheet:
    """Counts records as they are written, and says what the data set is.

    Parameters
    ----------
    collection
        Where they are from.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.records = 0
        self.missing_images = 0
        """Images that could not be copied."""
        self._origins: Counter[str] = Counter()
        self._readers: Counter[str] = Counter()
        self._shown: Counter[str] = Counter()
        self._of_class: dict[str, Counter[str]] = {name: Counter() for name in collection.classes}
        self._of_round: dict[int, Counter[str]] = {}
        self._splits: Counter[str] = Counter()
        self._agreements: list[float] = []

    def count(self, record: Record) -> None:
        """Count a record that was written."""
        entry = record.entry
        self.records += 1
        self._origins[entry.in_words] += 1
        self._readers.update(record.readers)
        self._shown[_SHOWN.get(entry.shown_prediction, _TICKED)] += 1
        self._splits[record.split] += 1
        for name in findings_of(entry.label):
            self._of_class[name][record.split] += 1
            self._of_class[name]["drawn"] += entry.draw is Draw.AUDIT
            self._of_round.setdefault(entry.round_number or 0, Counter())[name] += 1
        if record.agreement is not None:
            self._agreements.append(record.agreement)

    def text(self, command: str) -> str:
        """Return the datasheet.

        Parameters
        ----------
        command
            What made the data set.
        """
        return "\n".join([*self._head(command), *self._collected(), *self._bias(), *self._splitting(), *self._rest()])

    def _head(self, command: str) -> Iterator[str]:
        project, options = self.collection.project, self.collection.options
        title = project.row.title if project.row is not None else None
        yield f"# Data set of project {project.id}{f': {safe(title)}' if title else ''}\n"
        yield f"{self.records:,} labelled tasks. Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by clinical-backend"
        yield f"{version('clinical-backend')}: {code(command, 1000)}\n"
        yield "`SHA256SUMS` has the digest of every file: `sha256sum --check SHA256SUMS`.\n"
        yield f"## What is in it\n\n{_IMAGES[options.images]}"
        if self.missing_images:
            yield f"\n{self.missing_images:,} images could not be read and are left out."
        fields = ", ".join(map(code, options.fields)) or "none"
        yield f"\nFields of the tasks' data, as chosen by who made this: {fields}. Patients or studies are named by a"
        yield "keyed hash (`group`), readers by " + ("their ids." if options.with_ids else "pseudonyms.")
        heads = ("class", *SPLITS, "of them drawn at random", "share of all tasks, weighted", "95 % interval")
        shares = self.collection.shares()
        yield f"\n{table(heads, (self._class_row(name, shares[name]) for name in self.collection.classes))}"
        yield f"{table(('split', 'tasks'), ((name, self._splits[name]) for name in SPLITS))}"

    def _class_row(self, name: str, share: Interval | None) -> tuple[object, ...]:
        counts = self._of_class[name]
        told = ("–", "–")
        if share is not None and share.estimate is not None:
            told = (f"{share.estimate:.2%}", f"{share.low:.2%} to {share.high:.2%}")
        return (name, *(counts[split] for split in SPLITS), counts["drawn"], *told)

    def _collected(self) -> Iterator[str]:
        yield "\n## How it was collected\n"
        yield "Readers answered in Label Studio, served by a queue that seeks rare cases; part of it is random."
        yield f"{self.collection.scheme.learnt}\n"
        yield table(("how the label came about", "tasks"), self._origins.most_common())
        yield table(("what stood ticked when it was answered", "tasks"), self._shown.most_common())
        yield "`shown_prediction` names the version of that prediction, as Label Studio and the trail have it.\n"
        yield table(("reader", "answers"), sorted(self._readers.items()))
        if self._agreements:
            whole = sum(one == 1 for one in self._agreements)
            yield f"Of {len(self._agreements):,} tasks with two readers or more, all agree on {whole:,}."
            yield "A label with an agreement of 0.5 or less is disputed: it is what the first reader said.\n"
        names = self.collection.classes
        rows = (
            (number or "before any", *(counts[n] for n in names)) for number, counts in sorted(self._of_round.items())
        )
        yield f"Labels of each class, by the round whose queue readers had:\n\n{table(('round', *names), rows)}"

    def _bias(self) -> Iterator[str]:
        draws = self.collection.draws
        sample = draws.sample
        yield "## Bias, and the weights that undo it\n"
        yield "**Rare cases are far more frequent here than in the project**, and those that look as expected more than"
        yield "others. Taken as they are, these labels tell neither how frequent a class is nor how good a model is."
        if sample.missing:
            yield f"\n**The weights are empty:** {sample.counted.sum()} labels of random draws count, and"
            yield f"{sample.missing} more are needed until anything can be said. Raise AUDIT_SHARE, and go on reading."
            return
        yield "`weight` is how many tasks of the project a label stands for, by the random draws of each round (of"
        yield "Raj's kind; docs/handover.md derives it). Weighted, they are fair for prevalence, sensitivity and"
        yield "specificity; an interval must know the rounds below, as"
        yield "`clinical_backend.findings.weights.SampledLabels.share` does. A weight of 0 is right: a later draw"
        yield "stands for the pool from which that task was sought. A task with several images counts once, by its one"
        yield "weight, though each of its images may have a line with it."
        empty = len(self.collection.ledger) - len(self.collection.weights)
        if empty:
            yield f"\n{empty:,} labels have no weight: their tasks came after the draws that count."
        if draws.newer:
            yield f"\n{draws.newer:,} tasks that came later are not covered by the weights."
        yield f"\nTogether the weights stand for {sum(self.collection.weights.values()):,.0f} tasks: those with a label"
        yield "and those whose image can be read. Skipped ones are in none of them.\n"
        rows = ((one.number, one.pool, one.draws) for one in sample.rounds)
        yield table(("round", "unlabelled tasks when it drew", "labelled random draws"), rows)

    def _splitting(self) -> Iterator[str]:
        options, collection = self.collection.options, self.collection
        yield "## Splits\n"
        yield f"{1 - options.validation - options.test:.0%} train, {options.validation:.0%} validation,"
        yield f"{options.test:.0%} test, by class, in the order of a hash (seed {options.seed}). Tasks that are tied"
        yield "stand in one split; after writing, no tie was found across two:\n"
        yield table(("tied by", "pairs"), ((name, len(pairs)) for name, pairs in collection.ties.items()))
        if not collection.groups:
            yield "**No field names the patient or study (GROUP_FIELD), so one patient may be in several splits.**\n"
        yield "Of an image with ten near-copies or more none is told, and of ten images or fewer none at all.\n"
        if (unknown := len(collection.ledger) - collection.compared) > 0:
            yield f"{unknown:,} tasks have no feature yet, so whether they are near-copies is not known.\n"

    def _rest(self) -> Iterator[str]:
        yield "## What it must not be used for\n"
        yield "To state how frequent a class is, or how good a model is, without the weights; for patients unlike those"
        yield "of the project; as the truth where readers disagree. Labels that were accepted from a model or imported"
        yield "tell what that source said.\n"
